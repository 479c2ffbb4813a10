"""``make bench-orders``: orders of convergence on a mixture whose denoiser is exact, in float64.

Each sampler follows the probability flow of eight Gaussians from the same points, in equal steps of log-SNR between
two noise levels. The error is the root mean square distance to the end points of a much finer run, the order the
least-squares slope of log error on log step size.
"""

import argparse
from functools import partial
from pathlib import Path as File

import torch

from benchmarks.machine import machine, report, table
from noise2data.mixtures import eight_gaussians
from noise2data.odes import observed_order
from noise2data.paths import EDM, Linear, Path, VPCosine, VPLinear
from noise2data.samplers import Step, ddim, dpmpp_2m, euler, heun, log_snr, sample

STEPS = (80, 113, 160)
FINE = 16 * STEPS[-1]
LEVELS = (0.05, 20.0)  # of sigma / alpha, last and first
SAMPLERS: dict[str, tuple[Step, int]] = {  # and the order that each should have
    "Euler": (euler, 1),
    "DDIM": (ddim, 1),
    "Heun": (heun, 2),
    "DPM-Solver++(2M)": (dpmpp_2m, 2),
}
PATHS: dict[str, Path] = {
    "VPLinear": VPLinear(),
    "VPCosine": VPCosine(),
    "EDM": EDM(80.0),
    "Linear": Linear(),
}


def errors(path: Path, points: int) -> dict[str, list[float]]:
    """Of each sampler, the error after each number of STEPS."""
    mixture = eight_gaussians(std=0.4)  # so wide that 80 steps are many
    denoise = partial(mixture.denoise, path=path)

    def grid(n: int) -> torch.Tensor:
        return log_snr(path, n + 1, *LEVELS)[:-1]  # without the step to 0, where no order is defined

    x = mixture.marginal(grid(1)[0], path).sample(points, torch.Generator().manual_seed(0))
    truth = sample(denoise, path, x, grid(FINE), heun)

    def error(step: Step, n: int) -> float:
        return (sample(denoise, path, x, grid(n), step) - truth).square().sum(1).mean().sqrt().item()

    return {name: [error(step, n) for n in STEPS] for name, (step, _) in SAMPLERS.items()}


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench-orders", description=__doc__)
    parser.add_argument("--points", type=int, default=256, help="how many points follow the flow (default: 256)")
    parser.add_argument("--output", type=File, help="the Markdown file to write")
    args = parser.parse_args()
    rows = []
    for path_name, path in PATHS.items():
        for name, values in errors(path, args.points).items():
            order = observed_order(values, [1 / n for n in STEPS])
            wanted = SAMPLERS[name][1]
            rows.append([f"{name} on {path_name}", *(f"{value:.2e}" for value in values), f"{order:.2f}", f"{wanted}"])
    report(
        "Orders of convergence",
        [
            f"{args.points} points, float64, from sigma / alpha = {LEVELS[1]:g} to {LEVELS[0]:g} in equal steps of "
            f"log-SNR; errors against Heun's rule in {FINE} steps.",
            table(["sampler", *(f"error, {n} steps" for n in STEPS), "order", "in theory"], rows),
            f"Machine: {machine()}.",
        ],
        args.output,
    )


if __name__ == "__main__":
    main()
