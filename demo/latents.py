"""What the course builds up to, in one picture: shapes that the packaged latent diffusion model draws on request.

One picture for each shape in each colour, by classifier-free guidance in the autoencoder's latent space. ``make demo``
shows it on the grade report's page; the README's copy is made by ``python -m demo.latents demo/latents.png``.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import cast

import torch

from noise2data.checkpoints import NO_SHAPE, load, shape_label
from noise2data.denoiser import Denoiser
from noise2data.guidance import guided
from noise2data.networks.autoencoder import Autoencoder, decode
from noise2data.plots import show_images, style
from noise2data.samplers import dpmpp_2m, karras, sample, start
from noise2data.shapes import ATTRIBUTES, COLOURS, SHAPES, prompt_accuracy

WEIGHT, STEPS = 2.5, 20
ALT = f"A grid of small pictures, each of one shape: {', '.join(SHAPES)} across, {', '.join(COLOURS)} down."


@torch.no_grad()
def generate() -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures (30, 3, H, W), colours down and shapes across, and what was asked for, (30, 5); always the same."""
    denoiser, autoencoder = cast(Denoiser, load("shapes_latent")), cast(Autoencoder, load("shapes_autoencoder"))
    pairs = itertools.product(range(len(COLOURS)), range(len(SHAPES)))
    anything = [-1] * (len(ATTRIBUTES) - 2)  # size, place and background
    asked = torch.tensor([[shape, colour, *anything] for colour, shape in pairs])
    grid = karras(denoiser.path, STEPS, sigma_min=0.01)
    z = start(denoiser.path, (len(asked), *autoencoder.latent_shape), grid[0], torch.Generator().manual_seed(0))
    z = sample(guided(denoiser, WEIGHT, shape_label(asked), NO_SHAPE), denoiser.path, z, grid, dpmpp_2m)
    return decode(autoencoder, z, denoiser.get_buffer("latent_scale")), asked


def draw(file: Path) -> str:
    """Write the picture; return its caption, which says how many of the pictures show what was asked for."""
    import matplotlib.pyplot as plt

    images, asked = generate()
    style()
    figure, axes = plt.subplots(figsize=(6.6, 5.0))
    show_images(images, axes, ncols=len(SHAPES))
    height, width = axes.images[0].get_size()
    rows, columns = height / len(COLOURS), width / len(SHAPES)
    for i, shape in enumerate(SHAPES):
        axes.text((i + 0.48) * columns, 0, shape, ha="center", va="bottom")
    for i, colour in enumerate(COLOURS):
        axes.text(-2, (i + 0.52) * rows, colour, ha="right", va="center")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=150)
    plt.close(figure)
    right = round(prompt_accuracy(images, asked)["all"] * len(asked))
    return (
        f"Shapes on request, drawn by the latent diffusion model that comes with the course: {STEPS} steps, guidance "
        f"{WEIGHT:g}. The course's reader of pictures finds shape and colour as asked for in {right} of {len(asked)}."
    )


if __name__ == "__main__":
    print(draw(Path(sys.argv[1])))
