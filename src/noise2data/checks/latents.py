"""Latent diffusion by hand: Gaussians, an affine autoencoder, and what training and guided DDIM make of its latents.

Random arguments of lab 12's functions, the values that they lead to, and well-known wrong ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from labcheck import expect, expect_close
from labcheck.answer import Answer, Observation
from labcheck.inside.wire import Handle
from noise2data.checks.arguments import abar_of, integer, normal, number, on_batch_axis, random_angles, uniform
from noise2data.checks.expectations import with_rows
from noise2data.checks.hints import EARLIER, differs_little
from noise2data.checks.trainee import moments_loss


def log_spread(rng: torch.Generator, *shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    """logvar, and the standard deviations that it belongs to."""
    s = uniform(rng, 0.3, 2.5, *shape)
    return 2 * s.log(), s


def kl_of(mu: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
    """What each entry of N(mu, s²) adds to the divergence from N(0, 1), from standard deviations."""
    return ((mu - 1) * (mu + 1) + s * s) / 2 - s.log()


class Bound:
    """Arguments of vae_loss whose squared errors are known by their making.

    Attributes:
        args: recon, x, mu and logvar.
        squares, kl: of each sample, (B,).
    """

    def __init__(
        self, rng: torch.Generator, image: tuple[int, ...] = (5, 2, 3, 3), latent: tuple[int, ...] = (5, 2, 2)
    ) -> None:
        x, away, distance = normal(rng, *image), normal(rng, *image), uniform(rng, 1.0, 4.0, image[0])
        away = away * on_batch_axis(distance / away.flatten(1).norm(dim=1), x)
        mu, (logvar, self.s) = normal(rng, *latent), log_spread(rng, *latent)
        self.args, self.away = (x + away, x, mu, logvar), away
        self.squares, self.kl = distance**2, kl_of(mu, self.s).flatten(1).sum(1)
        self.pixels, self.numbers = x[0].numel(), mu[0].numel()

    def mistakes(
        self, beta: float, larger_picture: int = 1, larger_latent: int = 1, repeats: int = 1
    ) -> dict[str, torch.Tensor]:
        """Well-known wrong losses, also of arguments stacked with zeros to so many times the size, or repeated."""
        r, kl, pixels, numbers = self.squares, self.kl, larger_picture * self.pixels, larger_latent * self.numbers
        return {
            "the squared errors are averaged over a picture's numbers; both terms are sums over a sample":
                (r / pixels + beta * kl).mean(),
            "KL is averaged over a latent's numbers while the squared errors are summed; both are sums over a sample":
                (r + beta * kl / numbers).mean(),
            "both terms are averaged within a sample; they are sums, and only the batch is averaged":
                (r / pixels + beta * kl / numbers).mean(),
            "this is the sum over the batch; take the mean": repeats * (r + beta * kl).sum(),
            "the squared errors are summed over the batch, too; average them over it":
                repeats * r.sum() + beta * kl.mean(),
            "KL is summed over the batch, too; average it": r.mean() + repeats * beta * kl.sum(),
            "the squared errors have no factor ½ here": (r / 2 + beta * kl).mean(),
            "beta belongs to KL, not to the squared errors": (beta * r + kl).mean(),
            "beta is not used": (r + kl).mean(),
            "KL is subtracted; the loss is minus the bound": (r - beta * kl).mean(),
            "this is the distance, not its square": (r.sqrt() + beta * kl).mean(),
            "these are absolute errors; square them":
                (self.away.abs().flatten(1).sum(1) + beta * kl).mean(),
            "KL is missing": r.mean(),
            "the squared errors are missing": (beta * kl).mean(),
        }  # fmt: skip


class Vae:
    """An affine autoencoder on the student's side, and what it says, by hand.

    Attributes:
        handle: to be passed to the student's functions.
        tables: its parameters, by name.
    """

    def __init__(
        self,
        answer: Answer,
        rng: torch.Generator,
        image: tuple[int, ...] = (3, 2, 4),
        latent: tuple[int, ...] = (2, 1, 3),
    ) -> None:
        self.answer, self.image_shape, self.latent_shape = answer, image, latent
        n, m = math.prod(image), math.prod(latent)
        self.tables = {
            "encoder_weight": normal(rng, m, n) / n**0.5,
            "encoder_bias": normal(rng, m),
            "spread_weight": normal(rng, m, n) / (2 * n**0.5),
            "spread_bias": normal(rng, m) / 2,
            "decoder_weight": normal(rng, n, m) / m**0.5,
            "decoder_bias": normal(rng, n),
        }
        self.handle: Handle = answer.fixture("affine_vae", image_shape=image, latent_shape=latent, **self.tables)

    def _affine(self, part: str, x: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
        weight, bias = self.tables[f"{part}_weight"], self.tables[f"{part}_bias"]
        return torch.einsum("mn,bn->bm", weight, x.double().flatten(1)).add(bias).reshape(len(x), *shape)

    def mean(self, x: torch.Tensor) -> torch.Tensor:
        """mu of q(z | x)."""
        return self._affine("encoder", x, self.latent_shape)

    def spread(self, x: torch.Tensor) -> torch.Tensor:
        """The standard deviation of q(z | x)."""
        return (self._affine("spread", x, self.latent_shape) / 2).exp()

    def picture(self, z: torch.Tensor) -> torch.Tensor:
        """decode(z)."""
        return self._affine("decoder", z, self.image_shape)

    def expect_left_alone(self) -> None:
        """Fail if the autoencoder was changed."""
        expect_left_alone(self.answer, self.handle, self.tables, "the autoencoder")


def expect_left_alone(answer: Answer, handle: Handle, tables: Mapping[str, torch.Tensor], what: str) -> None:
    """Fail if a module was changed: its weights, its mode, or which parameters require gradients."""
    for name, now in answer.module(handle).parameters().items():
        expect(torch.equal(now, tables[name]), f"the weights of {what} were changed")
        wants = answer.attribute(handle, f"{name}.requires_grad") is True
        expect(wants, f"requires_grad of the parameters of {what} was changed; use torch.no_grad() or detach()")
    expect(answer.attribute(handle, "training") is True, f"{what} was put into another mode")


class Stage2:
    """One call of latent_eps_loss with an affine autoencoder and a `level_net`.

    Attributes:
        z: the scaled latents, the posterior's means.
        seen: what net was called with in the last call, pairs (z_k, k).
    """

    def __init__(self, answer: Answer, rng: torch.Generator, batch: int = 5, T: int = 20) -> None:
        self.answer, self.T, self.vae = answer, T, Vae(answer, rng)
        self.phi, self.abar = random_angles(rng, T)
        self.tables = {"scale": uniform(rng, 0.3, 0.8, T + 1), "shift": uniform(rng, 0.5, 1.0, T + 1)}
        self.x, self.eps = normal(rng, batch, *self.vae.image_shape), normal(rng, batch, *self.vae.latent_shape)
        self.scale = number(rng, 2.0, 4.0)
        self.z = self.scale * self.vae.mean(self.x)
        self.renew()

    def renew(self) -> None:
        """Make the network anew, so that it has not been called."""
        self.net = self.answer.fixture("level_net", **self.tables)

    def args(self, k: int | torch.Tensor) -> tuple[Any, ...]:
        return self.net, self.vae.handle, self.x, k, self.eps, self.abar, self.scale

    def shown(self, k: int | torch.Tensor) -> torch.Tensor:
        """What net is shown in a call."""
        self.call(k)
        return self.seen[0][0]

    def shown_plainly(self, k: int | torch.Tensor) -> torch.Tensor:
        """The same, for who explains torch's message on sizes that do not match."""
        self.call(k, explain=False)
        return self.seen[0][0]

    def call(self, k: int | torch.Tensor, explain: bool = True) -> Any:
        """What the student's function returns for a network that has not been called before."""
        self.renew()
        loss = self.answer.latent_eps_loss
        got = with_rows(loss, *self.args(k)) if explain else loss(*self.args(k))
        self.seen: list[tuple[torch.Tensor, torch.Tensor]] = self.answer.attribute(self.net, "seen")
        expect(len(self.seen) > 0, "net is not called")
        return got

    def levels(self, k: int | torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(k).expand(len(self.x))

    def noised(self, k: int | torch.Tensor, z: torch.Tensor | None = None) -> torch.Tensor:
        """z_k, of the scaled latents or of others."""
        angle = on_batch_axis(self.phi[self.levels(k)], self.eps)
        return angle.cos() * (self.z if z is None else z) + angle.sin() * self.eps

    def wanted(self, k: int | torch.Tensor) -> torch.Tensor:
        """The loss, from the moments of z and eps."""
        k = self.levels(k)
        scale, shift = (self.tables[name][k] for name in ("scale", "shift"))
        return moments_loss(self.phi[k].cos(), self.phi[k].sin(), scale, shift, self.z, self.eps)

    def answers(self, k: int | torch.Tensor) -> torch.Tensor:
        """What net says of z_k."""
        scale, shift = (on_batch_axis(self.tables[name][self.levels(k)], self.eps) for name in ("scale", "shift"))
        return scale * self.noised(k) + shift


def near_level_0(answer: Answer, rng: torch.Generator) -> tuple[Stage2, torch.Tensor]:
    """float32 pictures whose latents are small beside the noise, abar = 1 - 1e-9, and the noise's factors at 1..T."""
    stage = Stage2(answer, rng)
    betas = uniform(rng, 0.5e-9, 2e-9, stage.T)
    stage.abar = abar_of(betas)
    stage.x, stage.eps, stage.scale = stage.x.float(), 1e4 * stage.eps.float(), 1e-3
    return stage, betas.cumsum(0).sqrt()


def expect_noise(stage: Stage2, factors: torch.Tensor, k: int | torch.Tensor) -> None:
    """Fail unless the noise that net is shown at k is that of `near_level_0`."""
    shown = stage.shown(k)
    expect(shown.shape == stage.eps.shape, f"net is shown a tensor of shape {tuple(shown.shape)}; expected eps's")
    noise, eps = shown.double() - 1e-3 * stage.vae.mean(stage.x), stage.eps.double()
    want = on_batch_axis(factors[stage.levels(k) - 1], eps) * eps
    lost = on_batch_axis((1 - stage.abar.float()).sqrt().double()[stage.levels(k)], eps) * eps
    atol = 1e-3 * want.abs().max().item()
    hint = "the noise's factor is the root of 1 - abar[k], here of about 1e-9 to 4e-8"
    if bool(((noise - lost).abs() <= atol + 1e-2 * lost.abs()).all()):
        hint = "1 - abar is lost in float32; compute the factors in abar's dtype and cast them last"
    expect_close(noise, want, rtol=1e-2, atol=atol, what="the noise that net is shown", hint=hint)


class Guided:
    """A network of labels with a null one, an autoencoder, and what guided DDIM makes of them.

    The network is affine, so that in u = z/cos each step adds (tan_j - tan_k) times its answer.

    Attributes:
        levels, sizes: the levels and the numbers of rows with which net was called in the last call.
    """

    def __init__(
        self,
        answer: Answer,
        rng: torch.Generator,
        *,
        null: int = 3,
        T: int = 15,
        strict: bool = False,
        size: float = 1.0,
    ) -> None:
        self.answer, self.null, self.T, self.strict = answer, null, T, strict
        self.vae, self.scale = Vae(answer, rng), number(rng, 2.0, 4.0)
        self.phi, self.abar = random_angles(rng, T)
        self.tables = {"scale": normal(rng, 4, T + 1) / 2, "shift": size * normal(rng, 4, T + 1)}
        self.seed = integer(rng, 0, 10**9)

    def labels(self, rng: torch.Generator, batch: int) -> torch.Tensor:
        """Random labels other than null."""
        wanted = torch.tensor([label for label in range(4) if label != self.null])
        return wanted[torch.randint(3, (batch,), generator=rng)]

    def observe(
        self, y: torch.Tensor, steps: list[int], w: Any, scale: Any = None, seed: int | None = None
    ) -> Observation:
        """What the student's function does with a network that has not been called before."""
        self.net = self.answer.fixture("null_net", **self.tables, null=self.null, strict=self.strict)
        generator = torch.Generator().manual_seed(self.seed if seed is None else seed)
        scale = self.scale if scale is None else scale
        seen = self.answer.observe("generate", self.net, self.vae.handle, y, steps, self.abar, scale, w, generator)
        self.levels: list[list[int]] = self.answer.attribute(self.net, "levels")
        self.sizes: list[int] = self.answer.attribute(self.net, "seen")
        return seen

    def latents(self, y: torch.Tensor, steps: list[int], w: float, clip: str = "") -> torch.Tensor:
        """Where the one draw ends, in float64; clip: "x0" clips x0 at each step, "both" and finds eps anew."""
        generator = torch.Generator().manual_seed(self.seed)
        z = torch.randn(len(y), *self.vae.latent_shape, generator=generator).double()
        for k, j in zip(steps[:-1], steps[1:], strict=True):
            scale, shift = (
                on_batch_axis(table[self.null, k] + w * (table[y, k] - table[self.null, k]), z)
                for table in self.tables.values()
            )
            eps = scale * z + shift
            u = z / self.phi[k].cos() + (self.phi[j].tan() - self.phi[k].tan()) * eps
            if clip:
                x0 = (z / self.phi[k].cos() - self.phi[k].tan() * eps).clamp(-1, 1)
                eps = (z - self.phi[k].cos() * x0) / self.phi[k].sin() if clip == "both" else eps
                u = x0 + self.phi[j].tan() * eps
            z = u * self.phi[j].cos()
        return z

    def wanted(self, y: torch.Tensor, steps: list[int], w: float, clip: str = "") -> torch.Tensor:
        """The pictures."""
        return self.vae.picture(self.latents(y, steps, w, clip) / self.scale)

    def expect(
        self, got: Any, y: torch.Tensor, steps: list[int], w: float, what: str, otherwise: str = EARLIER
    ) -> None:
        """Fail unless these are the pictures for labels, steps and weight, in float32."""
        want, end = self.wanted(y, steps, w), self.latents(y, steps, w)
        nothing = torch.full_like(y, self.null)
        clipped = "x0 is clipped to [-1, 1] at each step; latents are not confined to it"
        mistakes = {
            "the latents are not divided by scale before they are decoded": self.vae.picture(end),
            "the latents are multiplied by scale before they are decoded; divide": self.vae.picture(end * self.scale),
            "these are the pictures for no label": self.wanted(nothing, steps, 1.0),
            "cond and uncond are exchanged": self.wanted(y, steps, 1 - w),
            "the pictures are clipped": want.clamp(-1, 1),
            "this is the conditional model, w = 1": self.wanted(y, steps, 1.0),
            "this is (1 + w) cond - w uncond, as in the paper; here w = 1 is cond": self.wanted(y, steps, w + 1),
            clipped: self.wanted(y, steps, w, "x0"),
            f"{clipped}, and eps is found anew": self.wanted(y, steps, w, "both"),
        }
        hint = recognise_closely(got, mistakes, want, otherwise)
        size = want.abs().max().item()
        expect_close(got, want.float(), rtol=1e-3, atol=2e-4 * size, what=what, hint=hint)


def recognise_closely(got: Any, mistakes: dict[str, torch.Tensor], want: torch.Tensor, otherwise: str) -> str:
    """`recognise` for float32 results of many steps; a mistake that changes nothing here is left out."""
    if isinstance(got, torch.Tensor) and not got.is_complex():
        for sentence, wrong in mistakes.items():
            if differs_little(got, wrong) and not differs_little(wrong, want):
                return sentence
    return otherwise
