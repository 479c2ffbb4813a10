"""Answers to rescale_zero_terminal_snr, wrong and right."""

import torch


def wrong_abar_itself(abar):
    """The linear map of abar, not of its square root."""
    return (abar - abar[-1]) / (1 - abar[-1])


def wrong_paper_anchor(abar):
    """Algorithm 1 of the paper on our tensor: entry 1 is kept, and entry 0 is no longer 1."""
    root = abar.sqrt()
    return ((root - root[-1]) * root[1] / (root[1] - root[-1])) ** 2


def wrong_not_squared(abar):
    """The square root is returned."""
    root = abar.sqrt()
    return (root - root[-1]) / (1 - root[-1])


def wrong_shift_only(abar):
    """Shifted and not stretched: entry 0 falls below 1."""
    root = abar.sqrt()
    return (root - root[-1]) ** 2


def wrong_last_set_to_zero(abar):
    """Only the last entry is set to 0."""
    return torch.cat([abar[:-1], torch.zeros_like(abar[-1:])])


def wrong_squared_twice(abar):
    """The map of abar, then squared."""
    return ((abar - abar[-1]) / (1 - abar[-1])) ** 2


def wrong_maps_the_noise(abar):
    """sqrt(1 - abar) is mapped to reach 1."""
    return 1 - (1 - abar) / (1 - abar[-1])


def wrong_tiny_end(abar):
    """A small number is left at the end "for stability"."""
    root = abar.sqrt()
    return (((root - root[-1]) / (1 - root[-1])) ** 2).clamp(min=1e-8)


def wrong_in_place(abar):
    """Works on the argument's own memory."""
    root = abar.detach().sqrt_()
    root -= root[-1].clone()
    root /= root[0].clone()
    return root**2


def wrong_reciprocal(abar):
    """Multiplies by 1/(1 - end): entry 0 is 1 up to the last bit only."""
    root = abar.sqrt()
    return ((root - root[-1]) * (1 / (1 - root[-1]))) ** 2


def wrong_float32(abar):
    """Computed and returned in float32."""
    root = abar.float().sqrt()
    return ((root - root[-1]) / (1 - root[-1])) ** 2


def wrong_without_level_0(abar):
    """Entry 0 is cut off before the map."""
    root = abar[1:].sqrt()
    return ((root - root[-1]) / (root[0] - root[-1])) ** 2


def wrong_log_space(abar):
    """The map of the logarithm, which has no value at 0."""
    log = abar.log()
    return 1 - log / log[-1]


def right_first_minus_last(abar):
    """Written with both ends, the first taken from the tensor."""
    root = abar**0.5
    return ((root - root[-1]) / (root[0] - root[-1])).square()


def right_lerp(abar):
    """As one minus the share of the way down."""
    root = abar.sqrt()
    share = (1 - root) / (1 - root[-1])
    return (1 - share) ** 2


def right_min_max(abar):
    """By the largest and the smallest, since a schedule falls."""
    root = abar.sqrt()
    return torch.pow((root - root.min()) / (root.max() - root.min()), 2)
