"""``make bench-2d``: eight Gaussians in the plane, half a minute of training, then as few steps as will do.

Run in the environment of benchmarks/peers.txt. Each method trains for the same processor time, on one thread, as its
library's own example for the plane does it (network, batch, optimizer, loss), here on the same data. The figure is the
sliced Wasserstein distance W1 between samples and as many fresh points; the floor is that between two sets of fresh
points. Every method may call its network as often as the head of the column says. Ours has been tuned on these data,
the noise levels of its training and its grids among them; the peers' examples were written for others.
"""

import argparse
import contextlib
import io
import math
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from torch import nn

from benchmarks.machine import machine, report, table
from noise2data.denoiser import Denoiser
from noise2data.metrics import sliced_wasserstein
from noise2data.mixtures import eight_gaussians
from noise2data.networks.mlp import MLP
from noise2data.objectives import denoising_loss, edm_weight, lognormal_times
from noise2data.paths import EDM
from noise2data.samplers import Step, ddim, dpmpp_2m, heun, karras, log_snr, sample, start
from noise2data.training import fit

PEERS = ("smalldiffusion", "torchcfm", "flow-matching")
CALLS = (50, 20, 10)
DATA = eight_gaussians()

Sampler = Callable[[int, int, torch.Generator], torch.Tensor]  # (points, calls of the network, generator)
Trained = tuple[float, dict[str, Sampler]]  # processor seconds of training, and what can be done with the network


def draw(n: int, generator: torch.Generator | None = None) -> torch.Tensor:
    return DATA.sample(n, generator).float()


def until(seconds: float) -> Iterator[int]:
    """Count training steps until this process has computed for so long."""
    end, step = time.process_time() + seconds, 0
    while time.process_time() < end:
        yield step
        step += 1


# Ours -----------------------------------------------------------------------------------------------------------


def noise2data(seconds: float) -> Trained:
    """EDM: a preconditioned MLP that hears sin and cos of ln(sigma) / 2, log-normal noise levels."""
    path = EDM(10.0)
    sigma_data = draw(10_000).std().item()
    weight = partial(edm_weight, sigma_data=sigma_data)

    def loss(denoiser: Denoiser, x0: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        t = lognormal_times(len(x0), path, -0.6, 1.2, generator)
        return denoising_loss(denoiser, x0, t, torch.randn(x0.shape, generator=generator), weight=weight)

    def train(steps: int) -> nn.Module:
        net = MLP(2, depth=3, time_scale=2.0, time_dim=2)
        denoiser = Denoiser(net, path, "edm", sigma_data=sigma_data)
        return fit(denoiser, loss, draw, steps=steps, batch_size=512, lr=2e-3, cosine=True, progress=False).ema

    train(50)  # warms up
    began = time.process_time()
    train(400)
    each = (time.process_time() - began) / 400  # fit's own budget of seconds is one of wall time
    steps = int(0.95 * seconds / each)  # rather too few than too many
    began = time.process_time()
    denoiser = train(steps)
    used = time.process_time() - began

    def sampler(step: Step, spacing: Callable[..., torch.Tensor], calls_a_step: int = 1) -> Sampler:
        def run(n: int, calls: int, generator: torch.Generator) -> torch.Tensor:
            steps = calls // calls_a_step
            grid = spacing(path, steps, sigma_min=1 / steps)  # few steps do not spend many on the last of the noise
            return sample(denoiser, path, start(path, (n, 2), grid[0], generator), grid, step)

        return run

    return used, {
        "DPM-Solver++(2M), equal steps of log-SNR": sampler(dpmpp_2m, log_snr),
        "DPM-Solver++(2M), Karras's grid": sampler(dpmpp_2m, karras),
        "Heun, Karras's grid": sampler(heun, karras, 2),
        "DDIM, Karras's grid": sampler(ddim, karras),
    }


# Peers ----------------------------------------------------------------------------------------------------------


def smalldiffusion(seconds: float) -> Trained:
    """Its toy example: log-linear noise levels, 2048 points a batch, and its accelerated sampler."""
    from smalldiffusion import ScheduleLogLinear, TimeInputMLP, samples, training_loop

    model = TimeInputMLP(hidden_dims=(16, 128, 128, 128, 128, 16))
    schedule = ScheduleLogLinear(N=200, sigma_min=0.005, sigma_max=10)

    class Fresh(torch.utils.data.IterableDataset):
        def __iter__(self) -> Iterator[torch.Tensor]:
            while True:
                yield draw(2048)

    loader = torch.utils.data.DataLoader(Fresh(), batch_size=None)
    with contextlib.redirect_stderr(io.StringIO()):
        for _ in zip(until(seconds), training_loop(loader, model, schedule, epochs=1), strict=False):
            pass

    def sampler(gam: float) -> Sampler:
        def run(n: int, calls: int, generator: torch.Generator) -> torch.Tensor:
            sigmas = schedule.sample_sigmas(calls)
            noise = sigmas[0] * torch.randn(n, 2, generator=generator)
            *_, x = samples(model, sigmas, gam=gam, xt=noise)
            return x

        return run

    return seconds, {"accelerated (its gam = 2)": sampler(2.0), "DDIM": sampler(1.0)}


def torchcfm(seconds: float) -> Trained:
    """Its tutorial of eight Gaussians and moons: flow matching with pairs by minibatch optimal transport."""
    from torchcfm.conditional_flow_matching import ConditionalFlowMatcher, ExactOptimalTransportConditionalFlowMatcher
    from torchcfm.models.models import MLP as PeersMLP

    def trained(matcher: ConditionalFlowMatcher) -> Sampler:
        net = PeersMLP(2, time_varying=True)
        optimizer = torch.optim.Adam(net.parameters())
        for _ in until(seconds):
            x1 = draw(256)
            t, x, velocity = matcher.sample_location_and_conditional_flow(torch.randn_like(x1), x1)
            loss = (net(torch.cat([x, t[:, None]], 1)) - velocity).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        @torch.no_grad()
        def run(n: int, calls: int, generator: torch.Generator) -> torch.Tensor:
            x = torch.randn(n, 2, generator=generator)
            for i in range(calls):
                x = x + net(torch.cat([x, torch.full((n, 1), i / calls)], 1)) / calls
            return x

        return run

    return seconds, {
        "independent pairs, Euler": trained(ConditionalFlowMatcher(sigma=0.1)),
        "optimal transport, Euler": trained(ExactOptimalTransportConditionalFlowMatcher(sigma=0.1)),
    }


def flow_matching(seconds: float) -> Trained:
    """Its checkerboard example: straight paths, four hidden layers of 512, 4096 points a batch, the midpoint rule."""
    from flow_matching.path import AffineProbPath
    from flow_matching.path.scheduler import CondOTScheduler
    from flow_matching.solver import ODESolver

    class Velocity(nn.Module):  # the example's network, which is not part of the package
        def __init__(self) -> None:
            super().__init__()
            widths = [3, 512, 512, 512, 512]
            layers = [
                part for ends in zip(widths[:-1], widths[1:], strict=True) for part in (nn.Linear(*ends), nn.SiLU())
            ]
            self.net = nn.Sequential(*layers, nn.Linear(512, 2))

        def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            return self.net(torch.cat([x, t.expand(len(x))[:, None]], 1))

    net, path = Velocity(), AffineProbPath(CondOTScheduler())
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for _ in until(seconds):
        x1 = draw(4096)
        drawn = path.sample(t=torch.rand(len(x1)), x_0=torch.randn_like(x1), x_1=x1)
        loss = (net(drawn.x_t, drawn.t) - drawn.dx_t).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def sampler(method: str, calls_a_step: int) -> Sampler:
        def run(n: int, calls: int, generator: torch.Generator) -> torch.Tensor:
            steps = calls // calls_a_step
            solver, noise = ODESolver(net), torch.randn(n, 2, generator=generator)
            return solver.sample(noise, step_size=None, method=method, time_grid=torch.linspace(0, 1, steps + 1))

        return run

    return seconds, {"midpoint": sampler("midpoint", 2), "Euler": sampler("euler", 1)}


# The table ------------------------------------------------------------------------------------------------------


def judge(sampler: Sampler, calls: int, points: int, repeats: int) -> str:
    """Sliced W1 to fresh points, the same and along the same directions for all samplers."""
    values = []
    for seed in range(repeats):
        samples = sampler(points, calls, torch.Generator().manual_seed(seed))
        fresh = draw(points, torch.Generator().manual_seed(1000 + seed))
        values.append(sliced_wasserstein(samples, fresh, generator=torch.Generator().manual_seed(0)))
    error = statistics.stdev(values) / math.sqrt(repeats)
    return f"{statistics.mean(values):.3f} ± {error:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench-2d", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="processor seconds of training (default: 30)")
    parser.add_argument("--points", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=8, help="sets of samples, each with new noise (default: 8)")
    parser.add_argument("--seed", type=int, default=0, help="of the trainings")
    parser.add_argument("--output", type=Path, help="the Markdown file to write")
    args = parser.parse_args()
    warnings.filterwarnings("ignore", module="torch|accelerate")
    torch.set_num_threads(1)

    methods = (noise2data, smalldiffusion, torchcfm, flow_matching)
    floor = judge(lambda n, calls, generator: draw(n, generator), 0, args.points, args.repeats)
    rows = []
    for method in methods:
        torch.manual_seed(args.seed)
        used, samplers = method(args.seconds)
        for name, sampler in samplers.items():
            figures = [judge(sampler, calls, args.points, args.repeats) for calls in CALLS]
            rows.append([f"{method.__name__}: {name}", f"{used:.0f}", *figures])
    report(
        "Eight Gaussians",
        [
            f"Sliced W1 to {args.points} fresh points after {args.seconds:g} CPU seconds of training on one thread, "
            f"mean and standard error over {args.repeats} sets of samples of one training. Floor: {floor}.",
            "Ours has been tuned on these data; the peers' are the settings of their examples, written for others.",
            table(["method: sampler", "CPU s", *(f"{calls} calls" for calls in CALLS)], rows),
            *(
                f"{method.__name__}: {method.__doc__}"
                for method in (noise2data, smalldiffusion, torchcfm, flow_matching)
            ),
            f"Machine: {machine(PEERS)}.",
        ],
        args.output,
    )


if __name__ == "__main__":
    main()
