"""Callables that checks pass to students' functions.

They are made on the student's side by name, so they are public, they teach no lab's answer, and
they import torch alone. Fields take x of shape (B, ...) (or one sample without the batch axis, as
under ``torch.vmap``) and a time that is a number, a 0-d tensor or a (B,) tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch

Time = float | torch.Tensor
Field = Callable[[torch.Tensor, Time], torch.Tensor]
Step = Callable[[Field, torch.Tensor, Time, Time], torch.Tensor]


def _column(t: Time, x: torch.Tensor) -> torch.Tensor:
    """A number, 0-d or (B,) tensor shaped to broadcast over the batch axis of x."""
    t = torch.as_tensor(t, dtype=x.dtype, device=x.device)
    return t.reshape(-1, *[1] * (x.ndim - 1)) if t.ndim else t


def affine_field(A: torch.Tensor, b: torch.Tensor, c: float = 0.0) -> Field:
    """The velocity field f(x, t) = x A^T + (1 + c t) b; A is (d, d), b is (d,)."""

    def f(x: torch.Tensor, t: Time) -> torch.Tensor:
        return x @ A.to(x).T + (1 + c * _column(t, x)) * b.to(x)

    return f


def constant_field(v: torch.Tensor, c: float = 0.0) -> Field:
    """The field f(x, t) = (1 + c t) v, the same everywhere in space; v is (d,)."""

    def f(x: torch.Tensor, t: Time) -> torch.Tensor:
        return ((1 + c * _column(t, x)) * v.to(x)).expand(x.shape).clone()

    return f


def cubic_field() -> Field:
    """The field f(x, t) = -x**3, elementwise."""

    def f(x: torch.Tensor, t: Time) -> torch.Tensor:
        return -(x**3)

    return f


def sine_field(W: torch.Tensor, V: torch.Tensor, c: float = 0.0) -> Field:
    """The field f(x, t) = (1 + c t) sin(x W^T) V^T; W is (m, d), V is (d, m)."""

    def f(x: torch.Tensor, t: Time) -> torch.Tensor:
        return (1 + c * _column(t, x)) * (torch.sin(x @ W.to(x).T) @ V.to(x).T)

    return f


def trainable_sine_field(W: torch.Tensor, V: torch.Tensor) -> Field:
    """The field f(x, t) = sin(x W^T) V^T, whose W is a parameter that requires gradients."""
    W = torch.nn.Parameter(W.detach().clone())

    def f(x: torch.Tensor, t: Time) -> torch.Tensor:
        return torch.sin(x @ W.to(x).T) @ V.to(x).T

    return f


def constant_divergence(value: float) -> Field:
    """The divergence of a field that is linear in x: the same number everywhere."""

    def divergence(x: torch.Tensor, t: Time) -> torch.Tensor:
        return torch.full(x.shape[:-1], float(value), dtype=x.dtype, device=x.device)

    return divergence


def cubic_divergence() -> Field:
    """The divergence of `cubic_field`."""

    def divergence(x: torch.Tensor, t: Time) -> torch.Tensor:
        return -3 * (x**2).sum(-1)

    return divergence


def polynomial_divergence(w: torch.Tensor, q: torch.Tensor, c: float) -> Field:
    """The function (x, t) -> x·w + x²·q + c t of shape (B,); w and q are (d,)."""

    def divergence(x: torch.Tensor, t: Time) -> torch.Tensor:
        t = torch.as_tensor(t, dtype=x.dtype, device=x.device)
        return x @ w.to(x) + x**2 @ q.to(x) + c * t

    return divergence


def growth_step(c: float) -> Step:
    """A step rule that ignores f and solves dx/dt = 2 c t x exactly."""

    def step(f: Field, x: torch.Tensor, t: Time, dt: Time) -> torch.Tensor:
        t, dt = (torch.as_tensor(value, dtype=x.dtype, device=x.device) for value in (t, dt))
        return x * torch.exp(c * dt * (2 * t + dt))

    return step


def midtime_step() -> Step:
    """A step rule that looks at the field half-way in time: exact for `constant_field`."""

    def step(f: Field, x: torch.Tensor, t: Time, dt: Time) -> torch.Tensor:
        return x + dt * f(x, t + dt / 2)

    return step


# ---- lab 03: score networks


class _ScoreNet(torch.nn.Module):
    """A score network: called as net(x), or as net(x, sigma), which multiplies by 1 + c sigma. x: (B, ...)."""

    def __init__(self, value: Callable[..., torch.Tensor], c: float, **parameters: torch.Tensor) -> None:
        super().__init__()
        self.value, self.c = value, c
        for name, tensor in parameters.items():
            self.register_parameter(name, torch.nn.Parameter(tensor.detach().clone()))

    def forward(self, x: torch.Tensor, sigma: Time | None = None) -> torch.Tensor:
        score = self.value(x, **{name: parameter.to(x) for name, parameter in self.named_parameters()})
        return score if sigma is None else score * (1 + self.c * _column(sigma, x))


def affine_score(A: torch.Tensor, b: torch.Tensor, c: float = 0.0) -> torch.nn.Module:
    """The score network x A^T + b along the last axis, times 1 + c sigma; A (d, d) and b (d,) are its parameters."""
    return _ScoreNet(lambda x, A, b: x @ A.T + b, c, A=A, b=b)


def cubic_score(a: torch.Tensor, b: torch.Tensor, c: float = 0.0) -> torch.nn.Module:
    """The score network a x + b x**3, times 1 + c sigma; its parameters a and b broadcast against one sample."""
    return _ScoreNet(lambda x, a, b: a * x + b * x**3, c, a=a, b=b)


def sine_score(W: torch.Tensor, V: torch.Tensor, c: float = 0.0) -> torch.nn.Module:
    """The score network sin(x W^T) V^T, times 1 + c sigma; its parameters are W (m, d) and V (d, m)."""
    return _ScoreNet(lambda x, W, V: torch.sin(x @ W.T) @ V.T, c, W=W, V=V)


# ---- lab 02: diffusions g(x, t), scores score(x) and score(x, sigma)

Diffusion = Callable[[torch.Tensor, Time], float | torch.Tensor]
Score = Callable[..., torch.Tensor]  # score(x), or score(x, sigma)


def noise_strength(g: float | torch.Tensor, c: float = 0.0) -> Diffusion:
    """The coefficient (1 + c t) g, the same everywhere in space; with c = 0 it is g itself, number or tensor."""

    def diffusion(x: torch.Tensor, t: Time) -> float | torch.Tensor:
        if isinstance(g, torch.Tensor):
            return (1 + c * _column(t, x)) * g.to(x) if c else g.to(x)
        return (1 + c * _column(t, x)) * g if c else g

    return diffusion


def noise_in_proportion(c: float) -> Diffusion:
    """The coefficient c x, elementwise."""

    def diffusion(x: torch.Tensor, t: Time) -> torch.Tensor:
        return c * x

    return diffusion


def gaussian_pull(mean: torch.Tensor, var: float) -> Score:
    """Towards `mean`: (mean - x) / (var + sigma**2), where sigma may be left out."""

    def score(x: torch.Tensor, sigma: Time = 0.0) -> torch.Tensor:
        return (mean.to(x) - x) / (var + _column(sigma, x) ** 2)

    return score


def level_push(v: torch.Tensor) -> Score:
    """The same push sigma * v everywhere in space: it shows which level a score was asked at."""

    def score(x: torch.Tensor, sigma: Time) -> torch.Tensor:
        return (_column(sigma, x) * v.to(x)).expand(x.shape).clone()

    return score


def sine_pull(W: torch.Tensor, V: torch.Tensor) -> Score:
    """The function x -> sin(x W^T) V^T; W is (m, d), V is (d, m)."""

    def score(x: torch.Tensor) -> torch.Tensor:
        return torch.sin(x @ W.to(x).T) @ V.to(x).T

    return score


def trainable_sine_pull(W: torch.Tensor, V: torch.Tensor) -> Score:
    """The same function, whose W is a parameter that requires gradients."""
    return sine_pull(torch.nn.Parameter(W.detach().clone()), V)


# ---- lab 07

Net = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def _at_step(values: torch.Tensor, k: float | torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """values[k], one number or one for each sample, shaped to broadcast over x."""
    return _column(values.to(x.device)[torch.as_tensor(k, device=x.device).long()], x)


def gaussian_eps_net(abar: torch.Tensor, mean: float, var: float) -> Net:
    """The mean of eps given x at step k, where each coordinate of the data is N(mean, var); abar is (T+1,)."""

    def net(x: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        signal, noise = _at_step(abar.sqrt(), k, x), _at_step((1 - abar).sqrt(), k, x)
        return noise * (x - signal * mean) / (signal**2 * var + noise**2)

    return net


def two_point_eps_net(abar: torch.Tensor, a: float) -> Net:
    """The mean of eps given x at step k > 0, where each coordinate of the data is a or -a, equally likely."""

    def net(x: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        signal, noise = _at_step(abar.sqrt(), k, x), _at_step((1 - abar).sqrt(), k, x)
        return (x - signal * a * torch.tanh(a * signal * x / noise**2)) / noise

    return net


def table_net(table: torch.Tensor, per_call: float = 0.0) -> Net:
    """net(x, k) = table[k] (1 + per_call n) everywhere, in the n-th call, n = 0, 1, ...; table is (T+1,)."""
    calls = 0

    def net(x: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        value = _at_step(table * (1 + per_call * calls), k, x)
        calls += 1
        return value.expand(x.shape).clone()

    return net


def strict_table_net(table: torch.Tensor) -> Net:
    """As `table_net`, but k has to be (B,) int64, as an embedding of steps needs it."""

    def net(x: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        if not isinstance(k, torch.Tensor) or k.shape != x.shape[:1] or k.dtype != torch.int64:
            given = f"a {k.dtype} tensor of shape {tuple(k.shape)}" if isinstance(k, torch.Tensor) else type(k).__name__
            raise TypeError(f"the network needs k as an int64 tensor of shape (B,), here {(len(x),)}, not {given}")
        return _at_step(table, k, x).expand(x.shape).clone()

    return net


def linear_rate(low: float, high: float) -> Callable[[Time], Time]:
    """The function beta(t) = low + (high - low) t: a number for a number, a tensor of t's shape for a tensor."""

    def beta(t: Time) -> Time:
        return low + (high - low) * t

    return beta


def vp_gaussian_score(mean: torch.Tensor, var: float, low: float, high: float) -> Field:
    """The score of N(a mean, (a² var + 1 - a²) I), a² = exp(-low t - (high - low) t²/2); mean is (d,)."""

    def score(x: torch.Tensor, t: Time) -> torch.Tensor:
        t = _column(t, x)
        a2 = torch.exp(-low * t - (high - low) * t**2 / 2)
        return (a2.sqrt() * mean.to(x) - x) / (a2 * var + 1 - a2)

    return score


# ---- lab 05: networks of levels net(x, k), and an optimizer


class _CountingSGD(torch.optim.SGD):
    """Plain gradient descent that counts its steps, and returns their number when it is called.

    A check can hold, and pass on, what can be called.
    """

    def __init__(self, parameters: Iterable[torch.nn.Parameter], lr: float) -> None:
        super().__init__(parameters, lr=lr)
        self.steps = 0
        self.register_step_post_hook(self._count)

    def _count(self, *_: object) -> None:
        self.steps += 1

    def __call__(self) -> int:
        return self.steps


class _LevelNet(torch.nn.Module):
    """net(x, k) = scale[k] x + shift[k], with two tables of parameters; it keeps a copy of each (x, k) that it sees."""

    def __init__(self, scale: torch.Tensor, shift: torch.Tensor, lr: float, stale: float) -> None:
        super().__init__()
        self.scale, self.shift = (torch.nn.Parameter(table.detach().clone()) for table in (scale, shift))
        self.seen: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.optimizer = _CountingSGD(self.parameters(), lr=lr)
        for parameter in self.parameters():
            parameter.grad = torch.full_like(parameter, stale)

    def forward(self, x: torch.Tensor, k: int | torch.Tensor) -> torch.Tensor:
        levels = torch.as_tensor(k)
        self.seen.append((x.detach().clone(), levels.detach().clone()))
        rows = levels.long().reshape(-1)
        scale, shift = (table[rows].to(x) for table in (self.scale, self.shift))
        return scale.reshape(-1, *[1] * (x.ndim - 1)) * x + shift.reshape(
            -1, *[1] * (x.ndim - shift.ndim), *shift.shape[1:]
        )


def level_net(scale: torch.Tensor, shift: torch.Tensor, lr: float = 0.1, stale: float = 0.0) -> torch.nn.Module:
    """The network scale[k] x + shift[k] of x (B, ...) and levels k; scale is (T+1,), shift (T+1,) or (T+1, d).

    Its attribute `optimizer` is plain gradient descent with rate lr on both tables, whose gradients are all `stale`
    to begin with. Its attribute `seen` is the list of the (x, k) that it was called with.
    """
    return _LevelNet(scale, shift, lr, stale)


# ---- lab 06


class _Averaged(torch.nn.Module):
    """Parameters and buffers of several kinds, and what an update in place must leave as it is."""

    def __init__(self, width: int, frozen: bool) -> None:
        super().__init__()
        self.inner = torch.nn.Linear(width, width + 1)
        self.norm = torch.nn.BatchNorm1d(width + 1)
        self.scale = torch.nn.Parameter(torch.ones(width, dtype=torch.float64))
        self.fixed = torch.nn.Parameter(torch.ones(2, width), requires_grad=False)
        self.register_buffer("level", torch.zeros(()))
        self.register_buffer("table", torch.zeros(width, dtype=torch.int64))
        if frozen:
            self.requires_grad_(False)
        self.made_of = [*self.parameters(), *self.buffers()]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, width). Returns (B, width + 1)."""
        out: torch.Tensor = self.norm(self.inner(x * self.scale.to(x)))
        return out

    def keeps_its_tensors(self) -> bool:
        """Whether its parameters and buffers are still the objects that it was made with."""
        now = [*self.parameters(), *self.buffers()]
        return len(now) == len(self.made_of) and all(a is b for a, b in zip(now, self.made_of, strict=True))

    def has_no_graph(self) -> bool:
        """Whether no parameter or buffer is part of a graph."""
        return all(tensor.grad_fn is None for tensor in [*self.parameters(), *self.buffers()])


def module_to_average(width: int, frozen: bool = False, training: bool = True) -> torch.nn.Module:
    """A module of parameters (one of them always frozen), floating and integer buffers; all frozen if asked."""
    return _Averaged(width, frozen).train(training)


# ---- lab 10


class _LabelNet(torch.nn.Module):
    """net(x, k, y) = scale[y, k] x + shift[y, k], times 1 + per_call n in the n-th call; it notes each batch's size."""

    def __init__(self, scale: torch.Tensor, shift: torch.Tensor, per_call: float, strict: bool) -> None:
        super().__init__()
        self.scale, self.shift = (torch.nn.Parameter(table.detach().clone()) for table in (scale, shift))
        self.per_call, self.strict = per_call, strict
        self.seen: list[int] = []

    def forward(self, x: torch.Tensor, k: int | torch.Tensor, y: int | torch.Tensor) -> torch.Tensor:
        k, y = self._rows("k", k, x), self._rows("y", y, x)
        factor = 1 + self.per_call * len(self.seen)
        self.seen.append(len(x))
        return factor * (_column(self.scale[y, k], x) * x + _column(self.shift[y, k], x))

    def _rows(self, name: str, value: int | torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        given = torch.as_tensor(value)
        if given.shape != x.shape[:1] if self.strict else given.shape not in ((), x.shape[:1]):
            shapes = f"{name} of shape {tuple(given.shape)} with a batch of {len(x)}; expected ({len(x)},)"
            raise TypeError(f"the network is given {shapes}")
        if self.strict and given.dtype != torch.int64:
            raise TypeError(f"the network needs {name} in int64, not in {given.dtype}")
        return given.long().expand(len(x))


def label_net(scale: torch.Tensor, shift: torch.Tensor, per_call: float = 0.0, strict: bool = False) -> torch.nn.Module:
    """The network scale[y, k] x + shift[y, k] of x (B, ...), levels k and labels y; its parameters are (labels, T+1).

    strict: k and y have to be (B,) int64, as embeddings need them. Its attribute `seen` lists the sizes of the batches
    that it was called with.
    """
    return _LabelNet(scale, shift, per_call, strict)


# ---- lab 09


def strict_velocity_net(v: torch.Tensor, c: float) -> Net:
    """net(x, t) = (1 + c t) v, where t has to be (B,) in x's dtype, as a network needs it; v is (d,)."""

    def net(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        if not isinstance(t, torch.Tensor) or t.shape != x.shape[:1] or t.dtype != x.dtype:
            given = f"a {t.dtype} tensor of shape {tuple(t.shape)}" if isinstance(t, torch.Tensor) else type(t).__name__
            raise TypeError(f"the network needs t in x's dtype and of shape (B,), here {(len(x),)}, not {given}")
        return ((1 + c * _column(t, x)) * v.to(x)).expand(x.shape).clone()

    return net


# ---- lab 08: raw networks net(x, c), denoisers denoise(x, sigma)


class _ConditionedNet(torch.nn.Module):
    """net(x, c) = (a + w c) x + b, with three numbers for parameters."""

    def __init__(self, a: float, b: float, w: float, strict: bool) -> None:
        super().__init__()
        self.a, self.b, self.w = (torch.nn.Parameter(torch.tensor(float(value)).double()) for value in (a, b, w))
        self.strict = strict

    def forward(self, x: torch.Tensor, c: Time) -> torch.Tensor:
        if self.strict and not (isinstance(c, torch.Tensor) and c.shape == x.shape[:1]):
            given = f"a tensor of shape {tuple(c.shape)}" if isinstance(c, torch.Tensor) else type(c).__name__
            raise TypeError(f"the network needs c_noise as a tensor of shape (B,), here {(len(x),)}, not {given}")
        return (self.a.to(x) + self.w.to(x) * _column(c, x)) * x + self.b.to(x)


def conditioned_net(a: float, b: float = 0.0, w: float = 0.0, strict: bool = False) -> torch.nn.Module:
    """The network (a + w c) x + b with parameters a, b and w; a strict one takes c of shape (B,) only."""
    return _ConditionedNet(a, b, w, strict)


def shrinking_denoiser(mean: float | torch.Tensor, var: float) -> Field:
    """The function (x, sigma) -> mean + (x - mean) var / (var + sigma**2)."""

    def denoise(x: torch.Tensor, sigma: Time) -> torch.Tensor:
        centre = torch.as_tensor(mean, dtype=x.dtype, device=x.device)
        return centre + (x - centre) * (var / (var + _column(sigma, x) ** 2))

    return denoise


def two_sided_denoiser(a: float) -> Field:
    """The function (x, sigma) -> a tanh(a x / sigma**2), elementwise, for sigma > 0."""

    def denoise(x: torch.Tensor, sigma: Time) -> torch.Tensor:
        return a * torch.tanh(a * x / _column(sigma, x) ** 2)

    return denoise


def log_level_denoiser(p: torch.Tensor, q: torch.Tensor) -> Field:
    """The function (x, sigma) -> p + q log(sigma), for every x; p and q broadcast against one sample."""

    def denoise(x: torch.Tensor, sigma: Time) -> torch.Tensor:
        return (p.to(x) + q.to(x) * _column(sigma, x).log()).expand(x.shape).clone()

    return denoise


def numbered_denoiser(values: torch.Tensor) -> Field:
    """values[n] everywhere in the n-th call, n = 0, 1, ..., whatever x and sigma are; values is (N,)."""
    calls = 0

    def denoise(x: torch.Tensor, sigma: Time) -> torch.Tensor:
        nonlocal calls
        value = values[min(calls, len(values) - 1)]
        calls += 1
        return torch.full_like(x, value.item())

    return denoise


# ---- lab 12


class _AffineVAE(torch.nn.Module):
    """encode(x) -> (mu, logvar) and decode(z), each affine in all numbers of a sample."""

    def __init__(self, shapes: tuple[tuple[int, ...], tuple[int, ...]], **tables: torch.Tensor) -> None:
        super().__init__()
        self.image_shape, self.latent_shape = (tuple(shape) for shape in shapes)
        for name, table in tables.items():
            self.register_parameter(name, torch.nn.Parameter(table.detach().clone()))

    def _affine(self, x: torch.Tensor, part: str, shape: tuple[int, ...]) -> torch.Tensor:
        weight, bias = (self.get_parameter(f"{part}_{name}").to(x) for name in ("weight", "bias"))
        out = x.flatten(1) @ weight.T + bias
        return out.reshape(len(x), *shape)

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if x.shape[1:] != self.image_shape:
            raise ValueError(f"the autoencoder is given x of shape {tuple(x.shape)}, not (B, *{self.image_shape})")
        return self._affine(x, "encoder", self.latent_shape), self._affine(x, "spread", self.latent_shape)

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        if z.shape[1:] != self.latent_shape:
            raise ValueError(f"the autoencoder is given z of shape {tuple(z.shape)}, not (B, *{self.latent_shape})")
        return self._affine(z, "decoder", self.image_shape)


def affine_vae(image_shape: tuple[int, ...], latent_shape: tuple[int, ...], **tables: torch.Tensor) -> torch.nn.Module:
    """An autoencoder with mu = A x + a, logvar = D x + d and decode(z) = B z + b, of samples as columns.

    tables: encoder_weight A, encoder_bias a, spread_weight D, spread_bias d, decoder_weight B and decoder_bias b, all
    of them parameters. A, D are (m, n), a, d (m,), B (n, m), b (n,) for images of n numbers and latents of m.
    """
    return _AffineVAE((image_shape, latent_shape), **tables)


class _NullNet(_LabelNet):
    """A `_LabelNet` that knows which label stands for none, and notes the levels at which it was called."""

    def __init__(self, scale: torch.Tensor, shift: torch.Tensor, null: int, strict: bool) -> None:
        super().__init__(scale, shift, 0.0, strict)
        self.null = null
        self.levels: list[list[int]] = []

    def forward(self, x: torch.Tensor, k: int | torch.Tensor, y: int | torch.Tensor) -> torch.Tensor:
        self.levels.append(sorted(set(torch.as_tensor(k).flatten().tolist())))
        return super().forward(x, k, y)


def null_net(scale: torch.Tensor, shift: torch.Tensor, null: int, strict: bool = False) -> torch.nn.Module:
    """`label_net` with an attribute `null`, the label for none.

    Its attribute `levels` lists for each call the different levels k among the rows, in order.
    """
    return _NullNet(scale, shift, null, strict)
