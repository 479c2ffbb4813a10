"""Small trained models that ship with the package: `load("digits_eps")` gives one that is ready to use.

Weights only lie in the files, in half precision; what network they belong to is said here, one function for each, and
how they were trained in `make`, which makes them all anew. Each has a model card, `card("digits_eps")`.

    digits_judge         a metrics.Judge of images (B, 1, 8, 8): logits (B, 10), features (B, 64)
    digits_eps           denoiser, predicts eps on the path of DDPM; knows no labels
    digits_eps_class     the same with labels: y = 0..9, and NO_DIGIT for none
    digits_edm           denoiser, preconditioned as in EDM, on EDM's path; labels as above
    digits_velocity      denoiser, predicts the velocity on the straight path; labels as above
    digits_four_steps    denoiser, a student of digits_velocity that takes four equal steps from noise to data
    digits_two_steps     the same for two steps, a student of digits_four_steps
    digits_one_step      the same for one, a student of digits_two_steps
    digits_consistency   denoiser, a consistency model on the path VE(0.01, 20), a student of digits_edm
    shapes_autoencoder   images (B, 3, 64, 64) <-> latents (B, 4, 8, 8)
    shapes_latent        denoiser of latents times `latent_scale`, predicts eps on the path of DDPM;
                         labels y = shape_label(attributes), and NO_SHAPE for none
"""

from pathlib import Path

import torch
from torch import nn

from noise2data.denoiser import Denoiser
from noise2data.metrics import Judge
from noise2data.networks.autoencoder import Autoencoder
from noise2data.networks.unet import UNet
from noise2data.paths import EDM, VE, Linear, VPLinear
from noise2data.shapes import COLOURS, SHAPES

NO_DIGIT = 10
NO_SHAPE = len(SHAPES) * len(COLOURS)
DIGITS_STD = 0.75  # of all pixels together, for the preconditioning


def shape_label(attributes: torch.Tensor) -> torch.Tensor:
    """One label for shape and colour, (n,) int64 in 0..NO_SHAPE-1. attributes: (n, 5), as in `shapes`."""
    return attributes[:, 0] * len(COLOURS) + attributes[:, 1]


# The networks -------------------------------------------------------------------------------------------------------


def _digits_judge() -> nn.Module:
    return Judge((1, 8, 8), 10)


def _digits_eps() -> nn.Module:
    return Denoiser(UNet(1, 48, (1, 2)), VPLinear(), "eps")


def _digits_eps_class() -> nn.Module:
    return Denoiser(UNet(1, 48, (1, 2), NO_DIGIT + 1), VPLinear(), "eps")


def _digits_edm() -> nn.Module:
    # Its c is ln(sigma) / 4: one wave of ln(sigma), and slower ones.
    return Denoiser(UNet(1, 48, (1, 2), NO_DIGIT + 1, time_scale=4.0), EDM(), "edm", sigma_data=DIGITS_STD)


def _digits_velocity() -> nn.Module:
    return Denoiser(UNet(1, 48, (1, 2), NO_DIGIT + 1), Linear(), "velocity")


def _digits_in_steps() -> nn.Module:
    return Denoiser(UNet(1, 24, (1, 2), NO_DIGIT + 1), Linear(), "velocity")


def _digits_consistency() -> nn.Module:
    net = UNet(1, 48, (1, 2), NO_DIGIT + 1, time_scale=4.0)
    return Denoiser(net, VE(0.01, 20.0), "consistency", sigma_data=DIGITS_STD)


def _shapes_autoencoder() -> nn.Module:
    return Autoencoder(3, 24, 4, 8, size=64)


def _shapes_latent() -> nn.Module:
    denoiser = Denoiser(UNet(4, 64, (1, 2), NO_SHAPE + 1), VPLinear(), "eps")
    denoiser.register_buffer("latent_scale", torch.ones(()))
    return denoiser


_NETWORKS = {
    "digits_judge": _digits_judge,
    "digits_eps": _digits_eps,
    "digits_eps_class": _digits_eps_class,
    "digits_edm": _digits_edm,
    "digits_velocity": _digits_velocity,
    "digits_four_steps": _digits_in_steps,
    "digits_two_steps": _digits_in_steps,
    "digits_one_step": _digits_in_steps,
    "digits_consistency": _digits_consistency,
    "shapes_autoencoder": _shapes_autoencoder,
    "shapes_latent": _shapes_latent,
}


# What is in the files -----------------------------------------------------------------------------------------------


def names() -> tuple[str, ...]:
    """Of all models, in the order in which `make` makes them: some need those before them."""
    return tuple(_NETWORKS)


def untrained(name: str) -> nn.Module:
    """The network of that name with random weights, drawn from torch's global generator. ValueError for no name."""
    return _NETWORKS[_known(name)]()


def load(name: str, folder: str | Path | None = None) -> nn.Module:
    """The trained model: float32, on the CPU, in eval mode. For what it takes and gives, see the table above.

    folder: where `make` has written it; by default the package itself.
    Raises ValueError for an unknown name and for a file that holds another network's weights, FileNotFoundError where
    there is no file.
    """
    from safetensors.torch import load_file

    with torch.random.fork_rng(devices=[]):  # the random weights are replaced; your draws should not change for them
        model = untrained(name).float()  # whatever torch's default dtype is
    path = _file(name, ".safetensors", folder)
    try:
        model.load_state_dict(load_file(path))  # into float32, whatever the file has
    except RuntimeError as error:
        raise ValueError(
            f"{path.name} holds weights of another network than {name!r} has here; make it anew: {_command(name)}"
        ) from error
    return model.eval()


def card(name: str, folder: str | Path | None = None) -> str:
    """The model card, in Markdown: data, training, what was measured. Errors as for `load`."""
    _known(name)
    return _file(name, ".md", folder).read_text(encoding="utf-8")


def _known(name: str) -> str:
    if name not in _NETWORKS:
        raise ValueError(f"name is {name!r}; expected one of {', '.join(names())}")
    return name


def _file(name: str, suffix: str, folder: str | Path | None) -> Path:
    path = Path(__file__).parent if folder is None else Path(folder)
    path /= name + suffix
    if not path.exists():
        raise FileNotFoundError(f"{path.name} has not been made yet: {_command(name)}")
    return path


def _command(name: str) -> str:
    return f"python -m noise2data.checkpoints.make {name}"
