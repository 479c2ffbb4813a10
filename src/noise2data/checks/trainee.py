"""A small network with its optimizer on the student's side, and what one training step did to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from labcheck import expect
from labcheck.answer import Answer, Observation
from noise2data.checks.arguments import on_batch_axis, random_angles, uniform


def moments_loss(
    cos: torch.Tensor, sin: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor, x0: torch.Tensor, eps: torch.Tensor
) -> torch.Tensor:
    """The mean squared error of scale·xk + shift as a guess of eps, from the moments of each row of x0 and eps.

    The coefficients are (B,); x0 and eps are (B, ...). The error is p·x0 + q·eps + shift with p = scale·cos and
    q = scale·sin - 1, and its square is expanded.
    """
    x, e = x0.flatten(1), eps.flatten(1)
    p, q = scale * cos, scale * sin - 1
    squares = p**2 * (x * x).mean(1) + q**2 * (e * e).mean(1) + shift**2
    products = p * q * (x * e).mean(1) + p * shift * x.mean(1) + q * shift * e.mean(1)
    return (squares + 2 * products).mean()


@dataclass(frozen=True)
class Step:
    """What one training step of a `level_net` did.

    Attributes:
        value: what was returned.
        x, k: what net was shown first, as it came.
        eps: the noise with which x0 became x.
        calls, steps: how often net was called, and how often the optimizer stepped.
        loss: the mean squared error of eps before the step.
        moved, due: by how much each parameter of the levels 1..T moved, and should have.
    """

    value: Any
    x: torch.Tensor
    k: torch.Tensor
    eps: torch.Tensor
    calls: int
    steps: int
    loss: float
    moved: dict[str, torch.Tensor]
    due: dict[str, torch.Tensor]


class Trainee:
    """A `level_net` of T levels with its optimizer on the student's side, and data to train it on.

    Args:
        size: of the network's answers.
        stale: the gradients that its parameters have to begin with.
    """

    def __init__(
        self, answer: Answer, rng: torch.Generator, T: int, x0: torch.Tensor, size: float = 1.0, stale: float = 0.0
    ) -> None:
        self.answer, self.x0, self.lr = answer, x0, 0.1 / size
        self.phi, self.abar = random_angles(rng, T)
        scale, shift = uniform(rng, 0.3, 0.8, T + 1), size * uniform(rng, 0.5, 1.0, T + 1)
        self.net = answer.fixture("level_net", scale=scale, shift=shift, lr=self.lr, stale=stale)
        self.optimizer = answer.attribute(self.net, "optimizer")
        self.done = 0

    def step(self, generator: torch.Generator) -> tuple[Step, Observation]:
        """One training step: what it did to the network, and to its arguments; a message where it cannot be told."""
        before, steps = self._parameters(), self.answer.call(self.optimizer)
        seen = self.answer.observe("training_step", self.net, self.optimizer, self.x0, self.abar, generator)
        after, calls = self._parameters(), self.answer.attribute(self.net, "seen")[self.done :]
        self.done += len(calls)
        expect(len(calls) > 0, "net is not called")
        x, k = calls[0]
        expect(
            k.shape == self.x0.shape[:1],
            f"net is given k of shape {tuple(k.shape)}; draw one level for each sample, shape (B,)",
        )
        expect(x.shape == self.x0.shape, f"net is shown {tuple(x.shape)}; expected the whole batch")
        levels, x0 = k.long(), self.x0.double()
        clean = (x == self.x0).flatten(1).all(1)
        told = "net is told level 0 with samples that are noisy: is it told the level to which they are noised?"
        expect(bool((clean | (levels > 0)).all()), told)
        cos, sin = self.phi[levels].cos(), self.phi[levels].sin()
        eps = (x.double() - on_batch_axis(cos, x) * x0) / on_batch_axis(sin, x)  # NaN at level 0, which has no noise
        scale, shift = (before[name][levels] for name in ("scale", "shift"))
        error = on_batch_axis(scale, x) * x.double() + on_batch_axis(shift, x) - eps
        slopes = {"scale": error * x.double(), "shift": error}
        step = Step(
            seen.value, x, k, eps, len(calls), self.answer.call(self.optimizer) - steps,
            moments_loss(cos, sin, scale, shift, x0, eps).item(),
            {name: (after[name] - before[name])[1:] for name in before},
            {name: -self.lr * self._mean_by_level(2 * slope, levels)[1:] for name, slope in slopes.items()},
        )  # fmt: skip
        return step, seen

    def _parameters(self) -> dict[str, torch.Tensor]:
        return self.answer.module(self.net).parameters()

    def _mean_by_level(self, values: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        """The sums of the samples' means over the samples of each level, divided by B: (T+1,)."""
        return torch.zeros_like(self.phi).index_add(0, k, values.flatten(1).mean(1) / len(k))
