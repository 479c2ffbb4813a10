"""How each model of `noise2data.checkpoints` is made: its data, its loss, its number of steps, and what is measured.

Their numbers of steps ask for minutes of a processor core; the cards say how many seconds it was.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional as F

from noise2data import data, metrics, shapes
from noise2data.checkpoints import DIGITS_STD, NO_DIGIT, NO_SHAPE, load, shape_label
from noise2data.denoiser import Denoiser
from noise2data.distillation import consistency_distillation_loss, one_line, pseudo_huber
from noise2data.guidance import drop_labels, guided, with_labels
from noise2data.metrics import Judge
from noise2data.networks.autoencoder import Autoencoder, encode, latent_scale, reparameterize, vae_loss
from noise2data.networks.unet import UNet
from noise2data.objectives import (
    denoising_loss,
    edm_weight,
    flow_matching_loss,
    lognormal_times,
    stratified_times,
    velocity_weight,
    weighted_loss,
)
from noise2data.samplers import Denoise, consistency, dpmpp_2m, karras, line, sample, start, uniform
from noise2data.training import Loss, split

T_MIN = 1e-3  # training starts here: at t = 0 there is no noise to learn
BETA = 0.02  # of the autoencoder: a decoder with standard deviation sqrt(BETA / 2) = 0.1
SIZE, PICTURES, HELD_OUT_PICTURES = 64, 8192, 512  # of shapes: their side, and how many to train on and to test on
SAMPLES = 1000  # that are measured
LEVELS = 18  # of noise, at neighbours of which a consistency model is compared with itself


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# Data: of each model what it is trained on, and what is held out ----------------------------------------------------


def digits() -> tuple[Any, Any]:
    """(images, labels) of four fifths of the digits, and of the last fifth."""
    return split(data.digits(), 0.2, seeded(0))


def digit_images() -> tuple[Any, Any]:
    (train, _), (held_out, _) = digits()
    return train, held_out


def pictures(n: int, which: str, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    images, _, attributes = shapes.captioned_shapes(n, SIZE, which, seeded(seed))
    return images, attributes


def shape_images() -> tuple[Any, Any]:
    """Pictures of scenes to train on, and others of the same scenes."""
    return pictures(PICTURES, "train", 0)[0], pictures(HELD_OUT_PICTURES, "train", 1)[0]


def latents(folder: Path, n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The posterior means of n pictures, not scaled yet, and their labels."""
    autoencoder = cast(Autoencoder, load("shapes_autoencoder", folder))
    images, attributes = pictures(n, "train", seed)
    with torch.no_grad():
        return torch.cat([encode(autoencoder, part, 1.0) for part in images.chunk(32)]), shape_label(attributes)


def scaled_latents(model: nn.Module, folder: Path) -> tuple[Any, Any]:
    """(latents, labels), brought to unit variance by the model's own latent_scale, which is measured here."""
    (train, labels), (held_out, held_out_labels) = latents(folder, PICTURES, 0), latents(folder, HELD_OUT_PICTURES, 1)
    scale = model.get_buffer("latent_scale").copy_(latent_scale(train))
    return (scale * train, labels), (scale * held_out, held_out_labels)


# Losses -------------------------------------------------------------------------------------------------------------


def judge_loss(judge: nn.Module, batch: Any, generator: torch.Generator) -> torch.Tensor:
    x, y = batch
    return F.cross_entropy(judge(x), y)


def eps_loss(denoiser: Denoiser, x0: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    t = stratified_times(len(x0), generator, T_MIN)
    return denoising_loss(denoiser, x0, t, torch.randn(x0.shape, generator=generator))


def class_eps_loss(null: int, denoiser: Denoiser, batch: Any, generator: torch.Generator) -> torch.Tensor:
    x0, y = batch
    t = stratified_times(len(x0), generator, T_MIN)
    eps = torch.randn(x0.shape, generator=generator)
    return denoising_loss(denoiser, x0, t, eps, drop_labels(y, 0.1, null, generator))


def edm_loss(denoiser: Denoiser, batch: Any, generator: torch.Generator) -> torch.Tensor:
    x0, y = batch
    t = lognormal_times(len(x0), denoiser.path, generator=generator)
    eps = torch.randn(x0.shape, generator=generator)
    weight = partial(edm_weight, sigma_data=DIGITS_STD)
    return denoising_loss(denoiser, x0, t, eps, drop_labels(y, 0.1, NO_DIGIT, generator), weight)


def velocity_loss(denoiser: Denoiser, batch: Any, generator: torch.Generator) -> torch.Tensor:
    x0, y = batch
    t = stratified_times(len(x0), generator, T_MIN)
    eps = torch.randn(x0.shape, generator=generator)
    return flow_matching_loss(denoiser, x0, t, eps, drop_labels(y, 0.1, NO_DIGIT, generator))


def steps_loss(n: int, parts: int, student: Denoiser, batch: Any, generator: torch.Generator, *, teacher: Any) -> Any:
    """One of n equal steps of the student is to end where the teacher ends in so many parts of it."""
    x0, y = batch
    y = drop_labels(y, 0.1, NO_DIGIT, generator)
    u = torch.randint(n, (len(x0),), generator=generator).double() / n
    t = u + 1 / n
    x = student.path.mix(x0, torch.randn(x0.shape, generator=generator), t)
    with torch.no_grad():
        end = x
        for part in range(parts):
            later, earlier = t - part / (n * parts), t - (part + 1) / (n * parts)
            end = line(student.path, end, teacher(end, later, y), later, earlier)
        target = one_line(student.path, x, end, t, u)
    return weighted_loss(student, x, t, y, target, velocity_weight)


def consistency_loss(
    student: Denoiser, batch: Any, generator: torch.Generator, *, teacher: Denoiser, ema: Denoiser
) -> torch.Tensor:
    """At neighbours of 18 noise levels, on the teacher's trajectory, the student is to say what its average says."""
    x0, y = batch
    times = karras(student.path, LEVELS - 1, sigma_min=0.0).flip(0)
    i = torch.randint(1, LEVELS, (len(x0),), generator=generator)
    eps = torch.randn(x0.shape, generator=generator)
    y = drop_labels(y, 0.1, NO_DIGIT, generator)
    on_path = Denoiser(teacher.net, student.path, "edm", sigma_data=DIGITS_STD)
    distance = partial(pseudo_huber, c=0.03)
    return consistency_distillation_loss(
        student, x0, times[i], eps, y, f_ema=ema, teacher=on_path, s=times[i - 1], distance=distance
    )


def autoencoder_loss(model: Autoencoder, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """The bound for each number in the picture, so that gradients have the size that `fit` clips at."""
    mu, logvar = model.encode(x)
    z = reparameterize(mu, logvar, torch.randn(mu.shape, generator=generator))
    return vae_loss(model.decode(z), x, mu, logvar, BETA) / x[0].numel()


# Measures: lines of the card ----------------------------------------------------------------------------------------

Measures = dict[str, float]


def judge_measures(judge: nn.Module, folder: Path) -> Measures:
    train, held_out = digits()
    return {
        "accuracy, training digits": metrics.judge_accuracy(cast(Judge, judge), *train),
        "accuracy, held-out digits": metrics.judge_accuracy(cast(Judge, judge), *held_out),
    }


def draw(denoiser: Denoiser, denoise: Denoise, shape: Sequence[int]) -> torch.Tensor:
    """Samples by 30 steps of DPM-Solver++(2M)."""
    grid = karras(denoiser.path, 30, sigma_min=0.01)
    return sample(denoise, denoiser.path, start(denoiser.path, shape, grid[0], seeded(1)), grid, dpmpp_2m)


@torch.no_grad()
def digits_measures(model: nn.Module, folder: Path) -> Measures:
    """Of samples: do they look like the label, are they distributed like digits, are they new?"""
    denoiser, labels = cast(Denoiser, model), torch.arange(SAMPLES) % 10
    labelled = cast(UNet, denoiser.net).embed_label is not None
    x = draw(denoiser, with_labels(denoiser, labels) if labelled else denoiser, (SAMPLES, 1, 8, 8))
    return judged(x, labels if labelled else None, folder)


def judged(x: torch.Tensor, labels: torch.Tensor | None, folder: Path) -> Measures:
    """What the judge says of digits x that were drawn with these labels, if with any."""
    judge, measures = cast(Judge, load("digits_judge", folder)), {}
    (train, _), (held_out, _) = digits()
    if labels is not None:
        measures["judge's accuracy on samples"] = metrics.judge_accuracy(judge, x, labels)
    features, of_train, of_held_out = (judge.features(images) for images in (x, train, held_out))
    return {
        **measures,
        "Fréchet distance, samples to held-out digits": metrics.frechet_of_features(features, of_held_out),
        "Fréchet distance, training to held-out digits": metrics.frechet_of_features(of_train, of_held_out),
        "nearest-neighbour ratio": metrics.nearest_neighbour_ratio(x, train, held_out),
    }


@torch.no_grad()
def steps_measures(n: int, model: nn.Module, folder: Path) -> Measures:
    """Of samples in n equal steps."""
    denoiser, labels = cast(Denoiser, model), torch.arange(SAMPLES) % 10
    x = start(denoiser.path, (SAMPLES, 1, 8, 8), generator=seeded(1))
    return judged(sample(with_labels(denoiser, labels), denoiser.path, x, uniform(n)), labels, folder)


@torch.no_grad()
def consistency_measures(model: nn.Module, folder: Path) -> Measures:
    """Of samples in one jump, and in two."""
    denoiser, labels = cast(Denoiser, model), torch.arange(SAMPLES) % 10
    measures: Measures = {}
    for title, levels in (("one jump", [20.0]), ("two jumps", [20.0, 1.5])):
        times = denoiser.path.inverse_log_snr(-2 * torch.tensor(levels, dtype=torch.float64).log())
        x = start(denoiser.path, (SAMPLES, 1, 8, 8), generator=seeded(1))
        x = sample(with_labels(denoiser, labels), denoiser.path, x, times, consistency, seeded(2))
        found = judged(denoiser(x, times[-1], labels), labels, folder)
        measures |= {f"{name}, {title}": value for name, value in found.items() if "training" not in name}
    return measures


@torch.no_grad()
def autoencoder_measures(model: nn.Module, folder: Path) -> Measures:
    """On new pictures of scenes that training had, and of scenes that it had not."""
    autoencoder, measures = cast(Autoencoder, model), {}
    for title, which in (("new pictures", "train"), ("held-out scenes", "held_out")):
        x, attributes = pictures(HELD_OUT_PICTURES, which, 2)
        back = autoencoder.decode(autoencoder.encode(x)[0])
        measures[f"mean squared error, {title}"] = (back - x).square().mean().item()
        measures[f"share read without error, {title}"] = shapes.prompt_accuracy(back, attributes)["all"]
    return measures


@torch.no_grad()
def latent_measures(denoiser: nn.Module, folder: Path) -> Measures:
    """Of samples of all labels: is what was asked for in the picture?"""
    denoiser, autoencoder = cast(Denoiser, denoiser), cast(Autoencoder, load("shapes_autoencoder", folder))
    labels, scale = torch.arange(SAMPLES) % NO_SHAPE, denoiser.get_buffer("latent_scale")
    asked = torch.full((SAMPLES, len(shapes.ATTRIBUTES)), -1)  # anything will do
    asked[:, 0], asked[:, 1] = labels // len(shapes.COLOURS), labels % len(shapes.COLOURS)
    measures = {"latent scale": scale.item()}
    for w in (1.0, 2.0):
        z = draw(denoiser, guided(denoiser, w, labels, NO_SHAPE), (len(labels), *autoencoder.latent_shape))
        images = autoencoder.decode(z / scale)
        measures[f"shape and colour as asked for, w = {w:g}"] = shapes.prompt_accuracy(images, asked)["all"]
    return measures


# Recipes ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recipe:
    """summary, source: sentences of the card. data(model, folder): the rows to train on, and those held out.

    train(rows, generator, steps): the trained model, for one that `fit` does not train. teacher: the model that the
    loss gets as `teacher`. begins_as: the model whose weights are the first ones. target_decay: of the average of the
    model's own weights that the loss gets as `ema`.
    """

    summary: str
    source: str
    data: Callable[[nn.Module, Path], tuple[Any, Any]]
    loss: Callable[..., torch.Tensor]
    measure: Callable[[nn.Module, Path], Measures]
    steps: int
    batch_size: int = 64
    lr: float = 2e-3
    train: Callable[[Any, torch.Generator, int], nn.Module] | None = None
    teacher: str | None = None
    begins_as: str | None = None
    target_decay: float | None = None

    def loss_of(self, folder: Path) -> Loss:
        """The loss, with the teacher that lies in the folder."""
        return self.loss if self.teacher is None else partial(self.loss, teacher=load(self.teacher, folder))


_DIGITS = (
    "The 1797 handwritten digits that ship with scikit-learn (Alpaydin and Kaynak, UCI, 1998; CC BY 4.0), 8 x 8, in "
    "[-1, 1]. A random fifth is held out."
)
_SHAPES = (
    f"Pictures of {SIZE} x {SIZE} drawn by `noise2data.shapes`, {PICTURES} of the scenes to train on. Held out: "
    f"{HELD_OUT_PICTURES} others of the "
    "same scenes."
)
_LABELS = " A label is left out with probability 0.1."

RECIPES = {
    "digits_judge": Recipe(
        "A classifier of digits, which judges samples, and whose 64 features the Fréchet distance is taken in.",
        _DIGITS,
        lambda model, folder: digits(),
        judge_loss,
        judge_measures,
        steps=1000,
        train=lambda rows, generator, steps: metrics.train_judge(rows[0], rows[1], generator, steps),
    ),
    "digits_eps": Recipe(
        "A denoiser of digits without labels: a U-Net that predicts eps on the path of DDPM.",
        _DIGITS,
        lambda model, folder: digit_images(),
        eps_loss,
        digits_measures,
        steps=5000,
    ),
    "digits_eps_class": Recipe(
        "A denoiser of digits with labels: a U-Net that predicts eps on the path of DDPM." + _LABELS,
        _DIGITS,
        lambda model, folder: digits(),
        partial(class_eps_loss, NO_DIGIT),
        digits_measures,
        steps=5000,
    ),
    "digits_edm": Recipe(
        "A denoiser of digits with labels: a preconditioned U-Net on the path of EDM." + _LABELS,
        _DIGITS,
        lambda model, folder: digits(),
        edm_loss,
        digits_measures,
        steps=5000,
    ),
    "digits_velocity": Recipe(
        "A denoiser of digits with labels: a U-Net that predicts the velocity on the straight path." + _LABELS,
        _DIGITS,
        lambda model, folder: digits(),
        velocity_loss,
        digits_measures,
        steps=5000,
    ),
    "digits_four_steps": Recipe(
        "A denoiser of digits with labels that takes four equal steps from noise to data: a small U-Net that predicts "
        "the velocity on the straight path, distilled from 16 steps of `digits_velocity`." + _LABELS,
        _DIGITS,
        lambda model, folder: digits(),
        partial(steps_loss, 4, 4),
        partial(steps_measures, 4),
        steps=5000,
        teacher="digits_velocity",
    ),
    "digits_two_steps": Recipe(
        "The same for two steps, distilled from `digits_four_steps`, as which it begins." + _LABELS,
        _DIGITS,
        lambda model, folder: digits(),
        partial(steps_loss, 2, 2),
        partial(steps_measures, 2),
        steps=2000,
        lr=1e-3,
        teacher="digits_four_steps",
        begins_as="digits_four_steps",
    ),
    "digits_one_step": Recipe(
        "The same for one step, distilled from `digits_two_steps`, as which it begins." + _LABELS,
        _DIGITS,
        lambda model, folder: digits(),
        partial(steps_loss, 1, 2),
        partial(steps_measures, 1),
        steps=2000,
        lr=1e-3,
        teacher="digits_two_steps",
        begins_as="digits_two_steps",
    ),
    "digits_consistency": Recipe(
        "A consistency model of digits with labels: a preconditioned U-Net on the path of EDM from noise level 0.01 to "
        f"20, distilled at {LEVELS} levels from `digits_edm`, as which it begins; its target is an average of its own "
        "weights." + _LABELS,
        _DIGITS,
        lambda model, folder: digits(),
        consistency_loss,
        consistency_measures,
        steps=4000,
        lr=1e-3,
        teacher="digits_edm",
        begins_as="digits_edm",
        target_decay=0.95,
    ),
    "shapes_autoencoder": Recipe(
        f"A variational autoencoder of pictures of shapes, with beta = {BETA}.",
        _SHAPES,
        lambda model, folder: shape_images(),
        autoencoder_loss,
        autoencoder_measures,
        steps=3000,
    ),
    "shapes_latent": Recipe(
        "A denoiser of latents of pictures of shapes, with a label for shape and colour together." + _LABELS,
        _SHAPES + " Of each the posterior mean, times `latent_scale`.",
        scaled_latents,
        partial(class_eps_loss, NO_SHAPE),
        latent_measures,
        steps=5000,
    ),
}
