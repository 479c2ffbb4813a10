"""``make bench-unet``: what our U-Net costs beside those of other libraries, at 32 x 32 x 1 and about 2 M parameters.

Run in the environment of benchmarks/peers.txt. A round times each network once, one after the other, so that what else
the machine does hits all alike; figures are medians over the rounds. All train on the same batches with the same loop:
mean squared error of eps, AdamW. Sampling is 64 images in 50 DDIM steps, by our sampler for all.

The share of the peak is of the same machine's fastest convolution: 3 x 3 with 256 channels, forwards and backwards.
The packages flow_matching and k-diffusion have no U-Net of this kind; that of flow_matching's examples is the one
in torchcfm.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.machine import machine, report, table
from noise2data.denoiser import Denoiser
from noise2data.networks.unet import UNet
from noise2data.paths import VPCosine
from noise2data.samplers import sample, start, uniform

PEERS = ("diffusers", "denoising-diffusion-pytorch", "torchcfm", "smalldiffusion")
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}

Net = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # (x, t), t in [0, 1]


class Wrapped(torch.nn.Module):
    """A peer's network as one of (x, t)."""

    def __init__(self, net: torch.nn.Module, call: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.net, self.call = net, call

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return self.call(self.net, x, t)


def networks() -> dict[str, torch.nn.Module]:
    """Ours and the peers', each at the size nearest to 2 M parameters at which its own settings stay usual."""
    from denoising_diffusion_pytorch import Unet as LucidUnet
    from diffusers import UNet2DModel
    from smalldiffusion import Unet as SmallUnet
    from torchcfm.models.unet import UNetModel

    return {
        "noise2data": UNet(1, 64, (1, 2, 2), stem=2),
        "diffusers": Wrapped(
            UNet2DModel(
                sample_size=32,
                in_channels=1,
                out_channels=1,
                block_out_channels=(36, 72, 72),
                down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
                up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
                norm_num_groups=12,
            ),
            lambda net, x, t: net(x, 1000 * t).sample,
        ),
        "denoising-diffusion-pytorch": Wrapped(
            LucidUnet(28, dim_mults=(1, 2, 4), channels=1), lambda net, x, t: net(x, 1000 * t)
        ),
        "torchcfm": Wrapped(
            UNetModel((1, 32, 32), num_channels=32, num_res_blocks=2), lambda net, x, t: net(1000 * t, x)
        ),
        "smalldiffusion": Wrapped(
            SmallUnet(32, 1, 1, ch=32, ch_mult=(1, 2, 2, 2), dropout=0.0), lambda net, x, t: net(x, t + 1e-3)
        ),
    }


class Contest:
    """A network in one precision, with what it trains on and the times of its rounds."""

    def __init__(self, net: torch.nn.Module, args: argparse.Namespace, precision: str) -> None:
        self.net, self.device, self.dtype = net, torch.device(args.device), PRECISIONS[precision]
        generator = torch.Generator().manual_seed(0)
        self.x0 = torch.rand(args.batch, 1, 32, 32, generator=generator).to(args.device) * 2 - 1
        self.eps = torch.randn(self.x0.shape, generator=generator).to(args.device)
        self.t = torch.rand(args.batch, generator=generator).to(args.device)
        self.x = VPCosine().mix(self.x0, self.eps, self.t)
        if args.channels_last:
            self.net = self.net.to(memory_format=torch.channels_last)
            self.x = self.x.to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.AdamW(net.parameters(), lr=1e-5, fused=True)
        self.train_ms: list[float] = []
        self.sample_s: list[float] = []

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.dtype == torch.bfloat16)

    def step(self) -> None:
        with self._autocast():
            loss = F.mse_loss(self.net(self.x, self.t).float(), self.eps)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def train(self, steps: int) -> None:
        """One round: milliseconds for each image of a few steps."""
        seconds = _timed(lambda: [self.step() for _ in range(steps)], self.device)
        self.train_ms.append(1e3 * seconds / steps / len(self.x))

    def sample(self, images: int, steps: int) -> None:
        path = VPCosine()
        grid = uniform(steps, t_max=0.999)  # at t = 1 itself eps says nothing of the data
        noise = start(path, (images, 1, 32, 32), grid[0], torch.Generator().manual_seed(1)).to(self.device)
        with self._autocast():
            self.sample_s.append(
                _timed(lambda: sample(Denoiser(self.net, path, "eps"), path, noise, grid), self.device)
            )

    def flops(self) -> float:
        """Floating-point operations of a training step for each image: convolutions and matrix products."""
        with FlopCounterMode(display=False) as counter:
            self.step()
        return counter.get_total_flops() / len(self.x)


def _timed(work: Callable[[], object], device: torch.device) -> float:
    wait = torch.cuda.synchronize if device.type == "cuda" else (lambda: None)
    wait()
    began = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - began


def peak(dtype: torch.dtype, device: torch.device) -> float:
    """Floating-point operations a second of the fastest convolution, with its gradients."""
    x = torch.randn(16, 256, 32, 32, device=device, dtype=dtype).to(memory_format=torch.channels_last).requires_grad_()
    w = torch.randn(256, 256, 3, 3, device=device, dtype=dtype).to(memory_format=torch.channels_last).requires_grad_()
    g = torch.randn_like(x)

    def work() -> object:
        return torch.autograd.grad(F.conv2d(x, w, padding=1), (x, w), g)

    work()
    return 6 * x.numel() * w[0].numel() / min(_timed(work, device) for _ in range(3))


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench-unet", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=2, help="training steps in a round (default: 2)")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--sampling-rounds", type=int, default=1, help="0 leaves sampling out (default: 1)")
    parser.add_argument("--sampling-steps", type=int, default=50)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--channels-last", action="store_true", help="give all networks, the peers' too, this layout")
    parser.add_argument("--output", type=Path, help="the Markdown file to write")
    args = parser.parse_args()
    warnings.filterwarnings("ignore", module="torch|diffusers|accelerate")

    device = torch.device(args.device)
    contests = {
        (name, precision): Contest(net.to(device), args, precision)
        for precision in PRECISIONS
        for name, net in networks().items()
    }
    flops = {key: contest.flops() for key, contest in contests.items()}  # also warms up
    peaks: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
    for number in range(args.rounds):
        for precision, dtype in PRECISIONS.items():
            peaks[precision].append(peak(dtype, device))
        for contest in contests.values():
            contest.train(args.steps)
            if number < args.sampling_rounds:
                contest.sample(args.batch, args.sampling_steps)

    rows = []
    for (name, precision), contest in contests.items():
        ms = statistics.median(contest.train_ms)
        ours = statistics.median(contests["noise2data", precision].train_ms)
        share = flops[name, precision] / (ms / 1e3) / max(peaks[precision])
        seconds = f"{statistics.median(contest.sample_s):.1f}" if contest.sample_s else "–"
        size = sum(parameter.numel() for parameter in contest.net.parameters())
        figures = [f"{size / 1e6:.2f}", f"{flops[name, precision] / 1e9:.2f}", f"{ms:.2f}", f"{ms / ours:.2f}"]
        rows.append([f"{name}, {precision}", *figures, f"{100 * share:.0f} %", seconds])
    head = ["U-Net", "M parameters", "GFLOP an image", "train, ms an image", "ratio to ours", "share of peak"]
    head.append(f"{args.batch} images × {args.sampling_steps} steps, s")
    fastest = ", ".join(f"{precision} {max(values) / 1e9:.0f} GFLOP/s" for precision, values in peaks.items())
    report(
        "U-Nets at 32 × 32 × 1",
        [
            f"Median of {args.rounds} rounds of {args.steps} training steps each, batch {args.batch}, all networks in "
            f"turn{', channels last for all' if args.channels_last else ''}. Bfloat16 is torch.autocast.",
            table(head, rows),
            f"Fastest convolution: {fastest}.",
            f"Machine: {machine(PEERS)}.",
        ],
        args.output,
    )


if __name__ == "__main__":
    main()
