"""Answers to betas_from_alpha_bar, wrong and right."""

from itertools import pairwise

import torch


def wrong_factors(abar):
    """Returns the factors 1 - beta."""
    return abar[1:] / abar[:-1]


def wrong_whole_way(abar):
    """1 - abar: the noise since level 0."""
    return 1 - abar[1:]


def wrong_difference(abar):
    """The difference of neighbours without the division."""
    return abar[:-1] - abar[1:]


def wrong_clips_at_0_999(abar):
    """Clips, as the cosine schedule does."""
    return (1 - abar[1:] / abar[:-1]).clamp(max=0.999)


def wrong_clips_from_below(abar):
    """A lower clip."""
    return (1 - abar[1:] / abar[:-1]).clamp(min=1e-5)


def wrong_leading_zero(abar):
    """T + 1 entries, the first 0."""
    return torch.cat([abar.new_zeros(1), 1 - abar[1:] / abar[:-1]])


def wrong_upside_down(abar):
    """The ratio taken the wrong way."""
    return 1 - abar[:-1] / abar[1:]


def wrong_divides_by_the_level_after(abar):
    """The difference divided by abar after the step: infinite at zero SNR."""
    return (abar[:-1] - abar[1:]) / abar[1:]


def wrong_square_roots(abar):
    """The ratio of the square roots."""
    return 1 - (abar[1:] / abar[:-1]).sqrt()


def wrong_off_by_one(abar):
    """np.roll: betas[i] takes step i - 1 to i."""
    return (1 - abar[1:] / abar[:-1]).roll(1)


def wrong_logarithm(abar):
    """-log of the ratio: beta to first order only."""
    return -(abar[1:] / abar[:-1]).log()


def wrong_always_float32(abar):
    """A new tensor of the default dtype, outside the graph."""
    return torch.tensor([1 - (b / a).item() for a, b in pairwise(abar)])


def wrong_guards_against_zero(abar):
    """A small number added to the denominator, and the end kept off 0."""
    return 1 - abar[1:].clamp(min=1e-5) / abar[:-1].clamp(min=1e-5)


def wrong_in_place(abar):
    """Divides inside the argument."""
    copy = abar.detach().clone()
    abar.detach()[1:] /= copy[:-1]
    return 1 - abar[1:]


def right_difference(abar):
    """The drop, relative to the level before it."""
    return -abar.diff() / abar[:-1]


def right_logarithms(abar):
    """-expm1 of the difference of logarithms: log 0 = -inf gives 1."""
    return -torch.expm1(abar.log().diff())


def right_loop(abar):
    """One quotient at a time."""
    return torch.stack([1 - abar[i + 1] / abar[i] for i in range(len(abar) - 1)])
