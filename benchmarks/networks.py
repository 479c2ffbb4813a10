"""``python -m benchmarks.networks``: what a step of training and a draw of samples cost a U-Net on the processor.

A step is forward, backward and AdamW on 64 pictures of 32 x 32 x 1. Beside the course's network stands the usual one of
the same number of parameters: full size throughout, two blocks a level, two norms a block, skips concatenated.
The machine's convolution peak is measured in the same rounds: one 3x3 convolution of 256 to 256 channels at 32 x 32,
forward and backward, channels last. A share of it counts the floating-point operations of matrix products and
convolutions (torch.utils.flop_counter) over the whole time of a step. All figures are the best of the rounds, in which
the runs alternate; with --busy they are processor seconds over the number of threads, which depend less on what else
the machine does.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from noise2data.networks.embeddings import timestep_embedding
from noise2data.networks.unet import UNet, zeroed

SIZE, STEPS = 32, 50


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.networks", description=__doc__)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--busy",
        action="store_true",
        help="count processor time (with --threads 1: a thread that waits for another counts, too)",
    )
    parser.add_argument("--profile", action="store_true", help="print where the time of the course's network goes")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    clock = (lambda: time.process_time() / args.threads) if args.busy else time.perf_counter
    nets = {"noise2data": course(), "usual": Usual(1, 32, (1, 2, 2))}

    steps = {(name, half): _step(net, args.batch, half) for name, net in nets.items() for half in (False, True)}
    flops = {name: _flops(steps[name, False]) for name in nets}
    runs: dict[tuple[str, bool], Callable[[], object]] = {**steps}
    runs |= {("peak", half): _convolution(half) for half in (False, True)}
    best = _best(runs, args.rounds, clock)
    forward = _best({(name, False): _forward(net, args.batch) for name, net in nets.items()}, args.rounds, clock)

    kind = "processor" if args.busy else "wall"
    print(f"{args.threads} threads, {kind} time, batch {args.batch}, torch {torch.__version__}, best of {args.rounds}")
    peaks = {half: _flops(runs["peak", half]) / best["peak", half] for half in (False, True)}
    print(f"convolution peak: {peaks[False] / 1e9:.0f} GFLOP/s in float32, {peaks[True] / 1e9:.0f} in bfloat16")
    print(f"{'':12}{'parameters':>11}{'GFLOP':>8}{'fp32':>8}{'share':>7}{'bf16':>8}{'share':>7}{'64 x 50':>9}")
    print(f"{'':12}{'M':>11}{'/image':>8}{'ms':>8}{'':>7}{'ms':>8}{'':>7}{'s':>9}")
    for name, net in nets.items():
        row = f"{name:12}{sum(p.numel() for p in net.parameters()) / 1e6:11.2f}{flops[name] / args.batch / 1e9:8.2f}"
        for half in (False, True):
            share = flops[name] / best[name, half] / peaks[half]
            row += f"{best[name, half] / args.batch * 1e3:8.2f}{share:7.0%}"
        print(row + f"{forward[name, False] * STEPS * 64 / args.batch:9.1f}")
    if args.profile:
        for half in (False, True):
            print(_profile(steps["noise2data", half]))


def course() -> UNet:
    """The network of the figures: two million parameters at 32 x 32."""
    return UNet(1, 64, (1, 2, 2), stem=2)


def _step(net: nn.Module, batch: int, half: bool) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4, fused=True)
    x, eps, t = torch.randn(batch, 1, SIZE, SIZE), torch.randn(batch, 1, SIZE, SIZE), torch.rand(batch)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            prediction = net(x, t)
        optimizer.zero_grad()
        (prediction.float() - eps).square().mean().backward()
        optimizer.step()

    return step


def _forward(net: nn.Module, batch: int) -> Callable[[], torch.Tensor]:
    x, t = torch.randn(batch, 1, SIZE, SIZE), torch.rand(batch)
    return torch.no_grad()(lambda: net(x, t))


def _convolution(half: bool) -> Callable[[], object]:
    dtype = torch.bfloat16 if half else torch.float32
    x, gradient = (torch.randn(16, 256, 32, 32, dtype=dtype).to(memory_format=torch.channels_last) for _ in range(2))
    weight = torch.randn(256, 256, 3, 3, dtype=dtype).to(memory_format=torch.channels_last).requires_grad_()
    x.requires_grad_()
    return lambda: torch.autograd.grad(F.conv2d(x, weight, padding=1), (x, weight), gradient)


def _flops(run: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops())


def _best(
    runs: dict[tuple[str, bool], Callable[[], object]], rounds: int, clock: Callable[[], float]
) -> dict[tuple[str, bool], float]:
    """Seconds of the fastest round of each, after one that warms up; the runs alternate."""
    best = dict.fromkeys(runs, float("inf"))
    for number in range(rounds + 1):
        for key, run in runs.items():
            start = clock()
            run()
            if number > 0:
                best[key] = min(best[key], clock() - start)
    return best


def _profile(run: Callable[[], object]) -> str:
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        run()
    return str(profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=16, max_name_column_width=40))


# The usual U-Net ----------------------------------------------------------------------------------------------------


class UsualBlock(nn.Module):
    """Norm, SiLU, convolution, twice, with FiLM at the second norm, and a residual."""

    def __init__(self, in_ch: int, out_ch: int, emb_dim: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(8, in_ch), nn.GroupNorm(8, out_ch)
        self.conv1 = nn.Conv2d(in_ch, out_ch, 3, padding=1)
        self.conv2 = zeroed(nn.Conv2d(out_ch, out_ch, 3, padding=1))
        self.film = nn.Linear(emb_dim, 2 * out_ch)
        self.skip = nn.Identity() if in_ch == out_ch else nn.Conv2d(in_ch, out_ch, 1)

    def forward(self, x: torch.Tensor, emb: torch.Tensor) -> torch.Tensor:
        scale, shift = self.film(emb)[:, :, None, None].chunk(2, 1)
        h = self.conv1(F.silu(self.norm1(x)))
        out: torch.Tensor = self.conv2(F.silu(self.norm2(h) * (1 + scale) + shift)) + self.skip(x)
        return out


class Usual(nn.Module):
    """A U-Net as most course notebooks write it, after Ho, Jain and Abbeel (2020), in the default memory layout."""

    def __init__(self, in_ch: int, base_ch: int, mults: tuple[int, ...]) -> None:
        super().__init__()
        channels, emb_dim = [base_ch * mult for mult in mults], 4 * base_ch
        self.base_ch = base_ch
        self.embed = nn.Sequential(nn.Linear(base_ch, emb_dim), nn.SiLU(), nn.Linear(emb_dim, emb_dim), nn.SiLU())
        self.first, skips, ch = nn.Conv2d(in_ch, base_ch, 3, padding=1), [base_ch], base_ch
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for i, out in enumerate(channels):
            for _ in range(2):
                self.down.append(UsualBlock(ch, out, emb_dim))
                ch = out
                skips.append(ch)
            if i < len(channels) - 1:
                self.down.append(nn.Conv2d(ch, ch, 3, stride=2, padding=1))
                skips.append(ch)
        self.middle = nn.ModuleList(UsualBlock(ch, ch, emb_dim) for _ in range(2))
        for i, out in reversed(list(enumerate(channels))):
            for _ in range(3):
                self.up.append(UsualBlock(ch + skips.pop(), out, emb_dim))
                ch = out
            if i > 0:
                self.up.append(nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(ch, ch, 3, padding=1)))
        self.last = nn.Sequential(nn.GroupNorm(8, ch), nn.SiLU(), nn.Conv2d(ch, in_ch, 3, padding=1))

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        emb = self.embed(timestep_embedding(1000 * t, self.base_ch))
        hs = [self.first(x)]
        for layer in self.down:
            hs.append(layer(hs[-1], emb) if isinstance(layer, UsualBlock) else layer(hs[-1]))
        h = hs[-1]
        for layer in self.middle:
            h = layer(h, emb)
        for layer in self.up:
            h = layer(torch.cat([h, hs.pop()], 1), emb) if isinstance(layer, UsualBlock) else layer(h)
        out: torch.Tensor = self.last(h)
        return out


if __name__ == "__main__":
    main()
