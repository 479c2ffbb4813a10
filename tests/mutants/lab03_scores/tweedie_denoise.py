"""Answers to tweedie_denoise, wrong and right."""

import torch


def _rows(value, x):
    value = torch.as_tensor(value, dtype=x.dtype, device=x.device)
    return value.reshape(-1, *[1] * (x.ndim - 1)) if value.ndim else value


def wrong_standard_deviation_for_variance(xt, score, alpha, sigma):
    """sigma·score in place of sigma²·score."""
    return (xt + _rows(sigma, xt) * score) / _rows(alpha, xt)


def wrong_sign(xt, score, alpha, sigma):
    """Subtracts the score, as one subtracts noise."""
    return (xt - _rows(sigma, xt) ** 2 * score) / _rows(alpha, xt)


def wrong_score_taken_for_eps(xt, score, alpha, sigma):
    """The formula for an eps prediction."""
    return (xt - _rows(sigma, xt) * score) / _rows(alpha, xt)


def wrong_alpha_forgotten(xt, score, alpha, sigma):
    """Right for variance-exploding noise only."""
    return xt + _rows(sigma, xt) ** 2 * score


def wrong_alpha_under_the_score_only(xt, score, alpha, sigma):
    """A bracket is missing."""
    return xt + _rows(sigma, xt) ** 2 * score / _rows(alpha, xt)


def wrong_alpha_is_alpha_bar(xt, score, alpha, sigma):
    """Divides by sqrt(alpha), as if alpha were abar."""
    return (xt + _rows(sigma, xt) ** 2 * score) / _rows(alpha, xt) ** 0.5


def wrong_variance_preserving_only(xt, score, alpha, sigma):
    """1 - alpha² in place of sigma²."""
    a = _rows(alpha, xt)
    return (xt + (1 - a**2) * score) / a


def wrong_half_a_step(xt, score, alpha, sigma):
    """Half of the score, as in a Langevin step."""
    return (xt + _rows(sigma, xt) ** 2 / 2 * score) / _rows(alpha, xt)


def wrong_clipped(xt, score, alpha, sigma):
    """Clips the result to [-1, 1], where pictures live."""
    return ((xt + _rows(sigma, xt) ** 2 * score) / _rows(alpha, xt)).clamp(-1, 1)


def wrong_trailing_axis(xt, score, alpha, sigma):
    """(B,) levels broadcast as they are where B equals the width."""
    a, s = torch.as_tensor(alpha, dtype=xt.dtype), torch.as_tensor(sigma, dtype=xt.dtype)
    if len(xt) != xt.shape[-1]:
        a, s = _rows(a, xt), _rows(s, xt)
    return (xt + s**2 * score) / a


def wrong_only_for_vectors(xt, score, alpha, sigma):
    """[:, None]: right for (B, d), wrong for images."""
    a, s = (torch.as_tensor(value, dtype=xt.dtype).reshape(-1, 1) for value in (alpha, sigma))
    return (xt + s**2 * score) / a


def wrong_promotes_to_float64(xt, score, alpha, sigma):
    """No cast: (B,) float64 levels turn float32 data into float64."""
    a, s = (torch.as_tensor(v, dtype=torch.float64).reshape(-1, *[1] * (xt.ndim - 1)) for v in (alpha, sigma))
    return (xt + s**2 * score) / a


def wrong_in_place(xt, score, alpha, sigma):
    """Adds to the argument xt."""
    xt.detach().add_(_rows(sigma, xt) ** 2 * score.detach())
    return xt / _rows(alpha, xt)


def wrong_under_no_grad(xt, score, alpha, sigma):
    """Switches gradients off, as samplers do."""
    with torch.no_grad():
        return (xt + _rows(sigma, xt) ** 2 * score) / _rows(alpha, xt)


def right_through_eps(xt, score, alpha, sigma):
    """First the noise that the score stands for, then what is left."""
    s = _rows(sigma, xt)
    eps = -s * score
    return (xt - s * eps) / _rows(alpha, xt)


def right_transposed(xt, score, alpha, sigma):
    """The batch axis turned to the end, where broadcasting begins."""
    a, s = (torch.as_tensor(value, dtype=xt.dtype) for value in (alpha, sigma))
    return ((xt.movedim(0, -1) + s.square() * score.movedim(0, -1)) / a).movedim(-1, 0)


def right_expanded(xt, score, alpha, sigma):
    """Levels expanded to the full shape."""
    n = len(xt)
    full = [torch.as_tensor(v).to(xt).expand(n).view(n, *[1] * (xt.ndim - 1)).expand_as(xt) for v in (alpha, sigma)]
    return torch.addcmul(xt, full[1].pow(2), score) / full[0]
