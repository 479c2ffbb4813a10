"""Adapters: small layers that teach a trained network something new, and leave it unchanged when they are new.

LoRA adds a product of two thin matrices to a weight; ControlNet adds a second encoder whose answers pass through
convolutions of zeros. Both start as nothing: the adapted network is the old one, and yet its gradient is not zero,
because only one factor of each product is.

Sources: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2022; Zhang, Rao and Agrawala, "Adding
Conditional Control to Text-to-Image Diffusion Models" (ControlNet), 2023; Ruiz et al., "DreamBooth", 2023.
"""

import copy
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from noise2data.networks.unet import UNet
from noise2data.paths import wide

# Low-rank adaptation ------------------------------------------------------------------------------------------------


class LoRALinear(nn.Module):
    """W x + b + (alpha / rank) B A x: a frozen linear layer and a trainable matrix of low rank.

    linear: the layer W, b, which is frozen in place (its values stay). rank: of B A, >= 1: rank * (in + out) numbers
    train. alpha: a number; with alpha / rank as the factor, the size of the change hardly depends on the rank.
    A starts random and B at zero, so that a new layer equals the old one and B has a gradient at once.

    Raises ValueError if linear is no nn.Linear or rank is below 1.
    Source: Hu et al., 2022, equation (3) and section 4.1.
    """

    def __init__(self, linear: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        if not isinstance(linear, nn.Linear):
            raise ValueError(f"linear is a {type(linear).__name__}; expected an nn.Linear")
        if rank < 1:
            raise ValueError(f"rank is {rank}; expected at least 1")
        self.linear = linear.requires_grad_(False)
        self.scale = alpha / rank
        weight = linear.weight
        # A of variance 1 / in: A x is of the size of x.
        self.A = nn.Parameter(torch.randn_like(weight[:1].expand(rank, -1)) / linear.in_features**0.5)
        self.B = nn.Parameter(weight.new_zeros(linear.out_features, rank))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (..., in). Returns (..., out). The product B A is never formed."""
        out: torch.Tensor = self.linear(x)
        return out + self.scale * F.linear(F.linear(x, self.A), self.B)

    def merge(self) -> nn.Linear:
        """A new nn.Linear of weight W + (alpha / rank) B A, as fast as the old one; self and the old one stay."""
        merged = copy.deepcopy(self.linear).requires_grad_(True)
        with torch.no_grad():
            merged.weight.copy_(wide(self.linear.weight) + self.scale * wide(self.B) @ wide(self.A))
        return merged


def lora_(model: nn.Module, rank: int, alpha: float, where: Callable[[str], bool] = lambda name: True) -> nn.Module:
    """Freeze a model and put a LoRALinear in the place of its linear layers, in place; returns the model.

    where: takes a layer's name, as in named_modules, and tells whether it is to be replaced. rank, alpha: as in
    LoRALinear. Only plain nn.Linear layers count, not subclasses, whose owners may reach for their weights.
    Raises ValueError if no layer is replaced, and for a model that has LoRALinear layers already.
    """
    if any(isinstance(module, LoRALinear) for module in model.modules()):
        raise ValueError("model contains LoRALinear layers; expected a model without, or with theirs merged")
    named = model.named_modules(remove_duplicate=False)
    chosen = {name: module for name, module in named if name and type(module) is nn.Linear and where(name)}
    if not chosen:
        raise ValueError("where chooses no linear layer of model; expected it to be true of at least one name")
    model.requires_grad_(False)
    adapted = {layer: LoRALinear(layer, rank, alpha) for layer in chosen.values()}  # what was shared stays shared
    for name, layer in chosen.items():
        model.set_submodule(name, adapted[layer])
    return model


# Control ------------------------------------------------------------------------------------------------------------


class ZeroConv2d(nn.Conv2d):
    """A 1x1 convolution, channels to channels, whose weight and bias start at zero and train.

    Source: Zhang, Rao and Agrawala, 2023, section 3.1.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 1)

    def reset_parameters(self) -> None:
        """Set weight and bias to zero."""
        nn.init.zeros_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


# What UNet.decode uses and UNet.encode does not.
_DECODER = ("up_blocks", "upsample", "norm", "last")


class ControlNet(nn.Module):
    """A frozen UNet, and a trainable copy of its encoder that sees a control picture as well:

        decode([h_i + zero_i(e_i)]),    h = encode(x),    e = copy.encode(x + zero(cond)),                          (1)

    where every zero is a `ZeroConv2d`: a new ControlNet is the UNet, whatever the picture says.

    unet: a UNet, or a module with its in_ch, channels, encode and decode; frozen in place (its values stay). The copy
    starts with its weights; a UNet's decoder is not copied.
    Source: Zhang, Rao and Agrawala, 2023, equation (2) and section 3.2.
    """

    def __init__(self, unet: UNet) -> None:
        super().__init__()
        self.copy = copy.deepcopy(unet).requires_grad_(True)
        if isinstance(unet, UNet):  # other classes may have the interface, too
            for name in _DECODER:
                delattr(self.copy, name)
        self.unet = unet.requires_grad_(False)
        like = next(unet.parameters())  # its dtype and device
        self.zero_in = ZeroConv2d(unet.in_ch).to(like)
        self.zeros = nn.ModuleList(ZeroConv2d(channels) for channels in unet.channels).to(like)

    def forward(
        self, x: torch.Tensor, t: torch.Tensor, cond: torch.Tensor, y: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Equation (1). x, cond: (B, in_ch, H, W), alike. t, y: as for the UNet. Returns x's shape.

        Raises ValueError if the shapes of x and cond differ.
        """
        if cond.shape != x.shape:
            raise ValueError(f"cond has shape {tuple(cond.shape)}; expected x's, {tuple(x.shape)}")
        hs = self.unet.encode(x, t, y)
        es = self.copy.encode(x + self.zero_in(cond), t, y)
        return self.unet.decode([h + zero(e) for h, zero, e in zip(hs, self.zeros, es, strict=True)], t, y)

    def bind(self, cond: torch.Tensor) -> Callable[..., torch.Tensor]:
        """The network `net(x, c, y=None)` for one control picture: what a Denoiser takes.

        cond: (B, in_ch, H, W). A batch that guidance has doubled, [x, x], meets [cond, cond].
        """

        def net(x: torch.Tensor, c: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
            out: torch.Tensor = self(x, c, cond.repeat(len(x) // len(cond), 1, 1, 1), y)
            return out

        return net


# Prior preservation -------------------------------------------------------------------------------------------------


def prior_preservation_loss(
    loss_instance: torch.Tensor, loss_prior: torch.Tensor, weight: float | torch.Tensor
) -> torch.Tensor:
    """loss_instance + weight * loss_prior: learn one subject, and keep what the model knew of its class.

    loss_instance, loss_prior: 0-d losses on pictures of the subject, and on pictures of its class that the model itself
    drew before. weight: a number >= 0. Returns a 0-d tensor. Raises ValueError for losses that are not 0-d.
    Source: Ruiz et al., "DreamBooth: Fine Tuning Text-to-Image Diffusion Models for Subject-Driven Generation", 2023,
    equation (2).
    """
    for name, loss in (("loss_instance", loss_instance), ("loss_prior", loss_prior)):
        if loss.ndim:
            raise ValueError(f"{name} has shape {tuple(loss.shape)}; expected a 0-d tensor")
    return loss_instance + weight * loss_prior
