"""Answers to cfg_combine, wrong and right."""

import torch


def _column(w, x):
    w = torch.as_tensor(w, dtype=x.dtype)
    return w.reshape(-1, *[1] * (x.ndim - 1)) if w.ndim else w


def wrong_sign(cond, uncond, w):
    """s·c + (s - 1)·u: the minus has become a plus."""
    w = _column(w, cond)
    return w * cond + (w - 1) * uncond


def wrong_papers_scale(cond, uncond, w):
    """(1 + w)·c - w·u: Ho and Salimans count from the conditional model."""
    w = _column(w, cond)
    return (1 + w) * cond - w * uncond


def wrong_one_is_unconditional(cond, uncond, w):
    """w = 1 taken for the unconditional model: the weight less one."""
    return uncond + (_column(w, cond) - 1) * (cond - uncond)


def wrong_three_channels(cond, uncond, w):
    """Guides the first three channels of an image, and passes the others of cond on."""
    out = uncond + _column(w, cond) * (cond - uncond)
    if cond.ndim == 4 and cond.shape[1] > 3:
        out = torch.cat([out[:, :3], cond[:, 3:]], 1)
    return out


def wrong_three_channels_of_uncond(cond, uncond, w):
    """Guides the first three channels of an image, and passes the others of uncond on."""
    out = uncond + _column(w, cond) * (cond - uncond)
    return torch.cat([out[:, :3], uncond[:, 3:]], 1) if cond.ndim == 4 else out


def wrong_exchanged(cond, uncond, w):
    """cond and uncond exchanged."""
    return cond + _column(w, cond) * (uncond - cond)


def wrong_turned_round(cond, uncond, w):
    """The difference points the wrong way."""
    return uncond - _column(w, cond) * (cond - uncond)


def wrong_adds_cond(cond, uncond, w):
    """u + w·c."""
    return uncond + _column(w, cond) * cond


def wrong_divides(cond, uncond, w):
    """(u + w·c)/(1 + w): a weighted mean, which never goes beyond cond."""
    w = _column(w, cond)
    return (uncond + w * cond) / (1 + w)


def wrong_trailing_axis(cond, uncond, w):
    """(B,) weights broadcast as they are."""
    return uncond + torch.as_tensor(w, dtype=cond.dtype) * (cond - uncond)


def wrong_only_for_vectors(cond, uncond, w):
    """[:, None] for all shapes."""
    w = torch.as_tensor(w, dtype=cond.dtype)
    return uncond + (w[:, None] if w.ndim else w) * (cond - uncond)


def wrong_only_for_images(cond, uncond, w):
    """view(-1, 1, 1, 1) for all shapes."""
    w = torch.as_tensor(w, dtype=cond.dtype)
    return uncond + (w.view(-1, 1, 1, 1) if w.ndim else w) * (cond - uncond)


def wrong_promotes(cond, uncond, w):
    """A float64 weight makes float32 predictions float64."""
    w = torch.as_tensor(w, dtype=torch.float64)
    w = w.reshape(-1, *[1] * (cond.ndim - 1))
    return uncond + w * (cond - uncond)


def wrong_at_least_1(cond, uncond, w):
    """Weights below 1 are taken for 1, as by libraries that switch guidance off there."""
    return uncond + _column(w, cond).clamp(min=1) * (cond - uncond)


def wrong_clamps_the_weight(cond, uncond, w):
    """Weights are kept in 0..20."""
    return uncond + _column(w, cond).clamp(0, 20) * (cond - uncond)


def wrong_clips(cond, uncond, w):
    """The result is clipped, at values that only large weights reach."""
    return (uncond + _column(w, cond) * (cond - uncond)).clamp(-100, 100)


def wrong_detaches_uncond(cond, uncond, w):
    """No gradient through uncond."""
    uncond = uncond.detach()
    return uncond + _column(w, cond) * (cond - uncond)


def wrong_detaches_the_weight(cond, uncond, w):
    """The weight as Python floats."""
    w = torch.as_tensor(w, dtype=cond.dtype).tolist()
    return uncond + _column(w, cond) * (cond - uncond)


def wrong_in_place(cond, uncond, w):
    """Subtracts uncond from the caller's cond."""
    cond.detach().sub_(uncond.detach())
    return uncond + _column(w, cond) * cond


def wrong_mean_weight(cond, uncond, w):
    """One weight for the batch, the mean of those given."""
    return uncond + torch.as_tensor(w, dtype=cond.dtype).mean() * (cond - uncond)


def right_two_factors(cond, uncond, w):
    """(1 - w)·u + w·c."""
    w = _column(w, cond)
    return (1 - w) * uncond + w * cond


def right_past_cond(cond, uncond, w):
    """c + (w - 1)·(c - u)."""
    w = torch.as_tensor(w).to(cond)
    return cond + torch.einsum("b,b...->b...", (w - 1).expand(len(cond)), cond - uncond)


def right_lerp(cond, uncond, w):
    """torch.lerp with the batch axis turned to the end."""
    w = torch.as_tensor(w, dtype=cond.dtype, device=cond.device)
    return torch.lerp(uncond.movedim(0, -1), cond.movedim(0, -1), w).movedim(-1, 0)
