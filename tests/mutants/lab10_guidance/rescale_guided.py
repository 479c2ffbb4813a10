"""Answers to rescale_guided, wrong and right."""

import torch


def _std(x, correction=1):
    return x.std(tuple(range(1, x.ndim)), keepdim=True, correction=correction)


def _blend(full, guided, phi):
    return phi * full + (1 - phi) * guided


def wrong_whole_batch(guided, cond, phi):
    """One standard deviation for all samples together."""
    return _blend(guided * cond.std() / guided.std(), guided, phi)


def wrong_per_channel(guided, cond, phi):
    """A standard deviation for each channel of an image."""
    if guided.ndim < 3:
        return _blend(guided * _std(cond) / _std(guided), guided, phi)
    axes = tuple(range(2, guided.ndim))
    return _blend(guided * cond.std(axes, keepdim=True) / guided.std(axes, keepdim=True), guided, phi)


def wrong_last_two_axes(guided, cond, phi):
    """The last two axes, as if there were no channels."""
    axes = tuple(range(max(1, guided.ndim - 2), guided.ndim))
    return _blend(guided * cond.std(axes, keepdim=True) / guided.std(axes, keepdim=True), guided, phi)


def wrong_across_the_batch(guided, cond, phi):
    """The standard deviation of each pixel over the batch."""
    return _blend(guided * cond.std(0, keepdim=True) / guided.std(0, keepdim=True), guided, phi)


def wrong_rms(guided, cond, phi):
    """The root of the mean square: the mean is not taken away."""
    axes = tuple(range(1, guided.ndim))
    ratio = (cond.square().mean(axes, keepdim=True) / guided.square().mean(axes, keepdim=True)).sqrt()
    return _blend(guided * ratio, guided, phi)


def wrong_variances(guided, cond, phi):
    """The ratio of variances."""
    return _blend(guided * (_std(cond) / _std(guided)) ** 2, guided, phi)


def wrong_turned_over(guided, cond, phi):
    """std(guided)/std(cond)."""
    return _blend(guided * _std(guided) / _std(cond), guided, phi)


def wrong_phi_turned_round(guided, cond, phi):
    """phi is the share that stays."""
    return _blend(guided, guided * _std(cond) / _std(guided), phi)


def wrong_mixes_with_cond(guided, cond, phi):
    """phi·cond + (1 - phi)·guided."""
    return _blend(cond, guided, phi)


def wrong_rescaled_cond(guided, cond, phi):
    """The rescaled part is mixed with cond in place of guided."""
    return _blend(guided * _std(cond) / _std(guided), cond, phi)


def wrong_always_fully(guided, cond, phi):
    """phi is ignored."""
    return guided * _std(cond) / _std(guided)


def wrong_recentres(guided, cond, phi):
    """The mean is kept, and the rest rescaled."""
    mean = guided.mean(tuple(range(1, guided.ndim)), keepdim=True)
    return _blend(mean + (guided - mean) * _std(cond) / _std(guided), guided, phi)


def wrong_takes_over_the_mean(guided, cond, phi):
    """The mean of cond as well as its standard deviation."""
    axes = tuple(range(1, guided.ndim))
    z = (guided - guided.mean(axes, keepdim=True)) / _std(guided)
    return _blend(cond.mean(axes, keepdim=True) + z * _std(cond), guided, phi)


def wrong_not_divided(guided, cond, phi):
    """std(cond)·guided."""
    return _blend(guided * _std(cond), guided, phi)


def wrong_geometric(guided, cond, phi):
    """The ratio to the power phi."""
    return guided * (_std(cond) / _std(guided)) ** phi


def wrong_only_shrinks(guided, cond, phi):
    """A ratio above 1 counts as 1."""
    return _blend(guided * (_std(cond) / _std(guided)).clamp(max=1), guided, phi)


def wrong_guarded(guided, cond, phi):
    """1e-5 added to the denominator."""
    return _blend(guided * _std(cond) / (_std(guided) + 1e-5), guided, phi)


def wrong_guarded_twice(guided, cond, phi):
    """1e-5 added to both standard deviations."""
    return _blend(guided * (_std(cond) + 1e-5) / (_std(guided) + 1e-5), guided, phi)


def wrong_guarded_variance(guided, cond, phi):
    """1e-5 added to the variance, under the root."""
    return _blend(guided * _std(cond) / (_std(guided) ** 2 + 1e-5).sqrt(), guided, phi)


def wrong_clamped(guided, cond, phi):
    """The denominator kept above 1e-5."""
    return _blend(guided * _std(cond) / _std(guided).clamp(min=1e-5), guided, phi)


def wrong_rows_and_columns(guided, cond, phi):
    """Axes 2 and 3 by number, which points have not."""
    return _blend(guided * cond.std((2, 3), keepdim=True) / guided.std((2, 3), keepdim=True), guided, phi)


def wrong_only_for_images(guided, cond, phi):
    """Axes 1, 2 and 3 by number."""
    axes = (1, 2, 3)
    return _blend(guided * cond.std(axes, keepdim=True) / guided.std(axes, keepdim=True), guided, phi)


def wrong_trailing_axis(guided, cond, phi):
    """A (B,) ratio without its axes: against the last axis."""
    ratio = cond.flatten(1).std(1) / guided.flatten(1).std(1)
    return _blend(guided * ratio, guided, phi)


def wrong_detached_ratio(guided, cond, phi):
    """The ratio is a number: no gradient goes through the standard deviations."""
    return _blend(guided * (_std(cond) / _std(guided)).detach(), guided, phi)


def wrong_in_place(guided, cond, phi):
    """Writes into guided."""
    full = guided * _std(cond) / _std(guided)
    guided.detach().mul_(1 - phi)
    return phi * full + guided


def wrong_promotes(guided, cond, phi):
    """Standard deviations in float64, not cast back."""
    return _blend(guided * _std(cond.double()) / _std(guided.double()), guided, phi)


def right_population(guided, cond, phi):
    """Standard deviations over n, not n - 1: the ratio is the same."""
    ratio = _std(cond, correction=0) / _std(guided, correction=0)
    return guided * (1 + phi * (ratio - 1))


def right_flat(guided, cond, phi):
    """All in (B, N)."""
    g, c = guided.flatten(1), cond.flatten(1)
    full = g / g.std(1, keepdim=True) * c.std(1, keepdim=True)
    return (phi * full + (1 - phi) * g).view_as(guided)


def right_norms(guided, cond, phi):
    """The ratio of the norms of what deviates from the mean; the wider blend through lerp."""
    axes = tuple(range(1, guided.ndim))

    def size(x):
        return torch.linalg.vector_norm(x - x.mean(axes, keepdim=True), dim=axes, keepdim=True)

    return torch.lerp(guided, guided * (size(cond) / size(guided)), float(phi))
