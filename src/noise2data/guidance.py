"""Guidance: a denoiser made from others, which asks more of a label than the model does.

Every function here gives back a `denoise(x, t) -> x0_hat`, so that a sampler cannot tell a guided model from another.
Classifier-free guidance extrapolates from the unconditional prediction through the conditional one,

    guided = uncond + w * (cond - uncond),                                                                      (1)

w = 0 unconditional, w = 1 conditional, w > 1 guided. (The paper's w is ours minus 1.) The weights sum to one, and eps,
v, score and velocity are affine in x0, so that (1) says the same of all of them. Of the score it says

    grad log [ p_t(x | y)^w p_t(x)^(1 - w) ],                                                                   (2)

a tilted density at each time t. These densities are not the noised versions of the tilted data, p(x) p(y | x)^w at
t = 0, and guided samples do not follow that either: for Gaussians p(x | y) = N(m, s^2) and p(x) = N(0, S^2) the tilted
variance is 1 / (w / s^2 + (1 - w) / S^2), that of the samples s^(2w) S^(2 - 2w), which is smaller for w > 1.

Derived in the book: chapter 10, equations (10.6), (10.8) and (10.10).

Sources: Ho and Salimans, "Classifier-Free Diffusion Guidance", 2022; Dhariwal and Nichol, "Diffusion Models Beat GANs
on Image Synthesis", 2021; Bradley and Nakkiran, "Classifier-Free Guidance is a Predictor-Corrector", 2024, on what the
samples follow.
"""

from collections.abc import Callable

import torch

from noise2data.paths import Path, Time, per_sample, seen, wide

Denoise = Callable[[torch.Tensor, Time], torch.Tensor]


def with_labels(denoiser: Callable[..., torch.Tensor], y: torch.Tensor) -> Denoise:
    """denoise(x, t) = denoiser(x, t, y): the conditional model, its labels bound. y: (B,), or (B, ...) for text."""
    return lambda x, t: denoiser(x, t, y)


def guided(
    denoiser: Callable[..., torch.Tensor],
    w: Time,
    y: torch.Tensor,
    null: int | torch.Tensor | None = None,
    interval: tuple[float, float] | None = None,
    phi: float = 0.0,
) -> Denoise:
    """Classifier-free guidance, equation (1), as a denoise(x, t).

    denoiser: `denoiser(x, t, y)` -> x0_hat, such as a `denoiser.Denoiser`. w: a number, or a weight for each sample.
    y: (B,) labels, or (B, ...) such as text. null: the label (or one sample's text) that stands for "none". Both halves
    then run as one batch of 2 B; without it the unconditional half is a call of its own, `denoiser(x, t)`.
    interval: (lo, hi) in path time, outside which w is 1, as in `interval_weight`. phi: as in `rescale`.

    Where w is 1 for all samples, the denoiser is called once, with y, and its answer returned as it is.
    Raises ValueError, when called, for labels or weights that do not fit x.
    Source: Ho and Salimans, 2022, equation (6), whose w is ours minus 1.
    """

    def denoise(x: torch.Tensor, t: Time) -> torch.Tensor:
        if len(y) != len(x):
            raise ValueError(f"y has length {len(y)}; expected a label for each of the {len(x)} samples of x")
        weight = wide(w, x.device) if interval is None else interval_weight(t, w, *interval)
        if weight.ndim and weight.shape != (len(x),):
            raise ValueError(
                f"w has shape {tuple(weight.shape)}; expected a number or a weight for each of the {len(x)} samples"
            )
        if bool((weight == 1).all()):
            return denoiser(x, t, y)
        if null is None:
            cond, uncond = denoiser(x, t, y), denoiser(x, t)
        else:
            nothing = torch.as_tensor(null, dtype=y.dtype, device=y.device).expand_as(y)
            twice = torch.cat([t, t]) if isinstance(t, torch.Tensor) and t.ndim else t
            cond, uncond = denoiser(torch.cat([x, x]), twice, torch.cat([y, nothing])).chunk(2)
        out = torch.lerp(uncond, cond, per_sample(weight, x))  # exact at w = 0 and w = 1
        return rescale(out, cond, phi) if phi else out

    return denoise


def interval_weight(t: Time, w: Time, lo: float, hi: float) -> torch.Tensor:
    """The guidance weight by time: w where lo <= t <= hi, 1 (the conditional model) elsewhere.

    t, w: numbers, 0-d or (B,) tensors. lo, hi: times, lo <= hi. Returns t's shape (or w's, if that is (B,)), dtype and
    device. Raises ValueError if lo > hi.
    Source: Kynkäänniemi et al., "Applying Guidance in a Limited Interval Improves Sample and Distribution Quality in
    Diffusion Models", 2024, section 3; the paper's interval is one of noise levels.
    """
    if not lo <= hi:
        raise ValueError(f"lo, hi are {lo}, {hi}; expected times with lo <= hi")
    t = t if isinstance(t, torch.Tensor) else wide(t)
    return torch.where((t >= lo) & (t <= hi), torch.as_tensor(w, dtype=t.dtype, device=t.device), 1.0)


def rescale(guided: torch.Tensor, cond: torch.Tensor, phi: float) -> torch.Tensor:
    """Give a share phi of a guided prediction the standard deviation of the conditional one, sample by sample.

    guided, cond: (B, ...), alike. phi: 0 changes nothing, 1 rescales fully. The standard deviation is over all axes but
    the batch; a constant sample has none and stays. Returns guided's shape and dtype. ValueError if shapes differ.
    Source: Lin et al., "Common Diffusion Noise Schedules and Sample Steps are Flawed", 2024, section 3.4.
    """
    if guided.shape != cond.shape:
        raise ValueError(f"guided has shape {tuple(guided.shape)}; expected cond's, {tuple(cond.shape)}")
    have, want = (a.flatten(1).std(1, correction=0) for a in (guided, cond))
    ratio = torch.where(have > 0, want / have, 1.0)
    return guided * per_sample(1 + phi * (ratio - 1), guided)


def drop_labels(
    y: torch.Tensor, p: float, null: int | torch.Tensor, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Replace each label by null, independently with probability p, so that one network learns both halves of (1).

    y: (B,) labels, or (B, ...) such as text, which is dropped as a whole. null: a label, or one sample's text.
    p: in [0, 1]; 0 drops nothing and 1 all. Returns a new tensor of y's shape and dtype. ValueError for other p.
    Source: Ho and Salimans, 2022, algorithm 1.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"p is {p}; expected a probability in [0, 1]")
    device = generator.device if generator is not None else y.device
    drop = (torch.rand(len(y), generator=generator, device=device) < p).to(y.device)
    return torch.where(drop.reshape(-1, *[1] * (y.ndim - 1)), torch.as_tensor(null, dtype=y.dtype, device=y.device), y)


def classifier_guided(
    denoise: Denoise,
    log_prob: Callable[[torch.Tensor, Time], torch.Tensor],
    path: Path,
    scale: Time = 1.0,
) -> Denoise:
    """Guidance by a classifier of noisy data: the score is shifted by scale * grad log p(y | x_t).

    denoise: the model, most often unconditional. log_prob: `log_prob(x, t)` -> (B,), the log-probability of the wanted
    label of each sample. scale: a number or one for each sample; with 1 and the true classifier this is the conditional
    model. As x0_hat = (x_t + sigma^2 score) / alpha, the shift of x0_hat is

        scale * sigma^2 / alpha * grad log p(y | x_t),        that of eps  -scale * sigma * grad log p(y | x_t).

    Works under no_grad. Raises ValueError, when called, where alpha = 0 (there x_t says nothing of y, and the shift is
    0 / 0: start the grid at an earlier time), and if log_prob does not return (B,).
    Source: Dhariwal and Nichol, 2021, section 4.2 and algorithm 2.
    """

    def shifted(x: torch.Tensor, t: Time) -> torch.Tensor:
        time = wide(t, x.device)
        alpha, sigma = path.alpha(time), path.sigma(time)
        if seen(alpha == 0):
            raise ValueError(f"t contains {time.max().item():g}, where alpha is 0; expected a time with alpha > 0")
        keep = torch.is_grad_enabled()
        with torch.enable_grad():
            at = x if x.requires_grad else x.detach().requires_grad_()
            log_p = log_prob(at, t)
            if log_p.shape != (len(x),):
                raise ValueError(
                    f"log_prob returned shape {tuple(log_p.shape)}; expected one number a sample, ({len(x)},)"
                )
            (gradient,) = torch.autograd.grad(log_p.sum(), at, create_graph=keep)
        return denoise(x, t) + per_sample(wide(scale, x.device) * sigma**2 / alpha, x) * gradient

    return shifted
