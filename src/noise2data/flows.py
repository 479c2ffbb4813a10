"""Straighter flows: couplings of data and noise, and how straight the ways between them are.

Flow matching may pair x0 and eps as it likes, as long as each keeps its distribution. Independent pairs have straight
lines that cross, and where they cross the network learns an average that bends. Pairs by optimal transport cross less,
and pairs that a flow itself has made (reflow) do not cross at all.

Derived in the book: chapter 9, equations (9.15), (9.19), (9.21) and (9.22).

Sources: Liu, Gong and Liu, "Flow Straight and Fast: Learning to Generate and Transfer Data with Rectified Flow", 2023;
Tong et al., "Improving and Generalizing Flow-Based Generative Models with Minibatch Optimal Transport", 2024.
"""

from collections.abc import Callable

import torch
from torch import nn

from noise2data.paths import Path, Time, per_sample
from noise2data.samplers import Denoise, Step, ddim, sample


class _Flipped(nn.Module):
    """A module of its own, so that the parameters of a wrapped network are found."""

    def __init__(self, net: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor, t: Time, *y: torch.Tensor) -> torch.Tensor:
        return -self.net(x, 1 - t, *y)


def flip_time(net: Callable[..., torch.Tensor]) -> nn.Module:
    """A velocity learnt with t = 0 noise and t = 1 data, as ours: g(x, t) = -net(x, 1 - t), with labels if any.

    Both clocks describe the same motion, once forwards and once backwards, hence the sign. The conventions of Lipman et
    al., Liu et al. and of most flow-matching code are those of `net`. Parameters are shared, gradients flow through.
    """
    return _Flipped(net)


def minibatch_ot(x0: torch.Tensor, eps: torch.Tensor) -> torch.Tensor:
    """eps in the order that minimises the summed squared distance between x0[i] and eps[i], exactly.

    x0, eps: (B, ...), alike. Returns a permutation of eps's samples, in its dtype and on its device; O(B^3) on the CPU.
    Raises ValueError if shapes differ or a value is not finite.
    Source: Tong et al., 2024, section 3; the assignment by scipy.optimize.linear_sum_assignment.
    """
    from scipy.optimize import linear_sum_assignment

    if x0.shape != eps.shape:
        raise ValueError(f"eps has shape {tuple(eps.shape)}; expected x0's, {tuple(x0.shape)}")
    for name, value in (("x0", x0), ("eps", eps)):
        if not bool(value.isfinite().all()):
            raise ValueError(f"{name} contains {value[~value.isfinite()][0].item()}; expected finite numbers")
    # |x0 - eps|^2 = |x0|^2 + |eps|^2 - 2 x0 . eps, and the squares sum to the same in any order.
    profit = x0.detach().flatten(1).cpu().double() @ eps.detach().flatten(1).cpu().double().T
    _, order = linear_sum_assignment(profit.numpy(), maximize=True)
    return eps[torch.from_numpy(order).to(eps.device)]


def reflow_pairs(
    denoise: Denoise, path: Path, eps: torch.Tensor, grid: torch.Tensor, step: Step = ddim
) -> tuple[torch.Tensor, torch.Tensor]:
    """(x0_hat, eps): each noise with the sample that the model makes of it, to train the next flow on.

    denoise, path, grid, step: as for `samplers.sample`, a deterministic step and grid[0] the noisiest time. eps:
    (B, ...), from N(0, I), and given back as it is. x0_hat has no graph.
    Source: Liu et al., 2023, algorithm 1 ("Reflow").
    """
    return sample(denoise, path, per_sample(path.sigma(grid[0]), eps) * eps, grid, step), eps


def straightness(trajectory: torch.Tensor) -> torch.Tensor:
    """How much the velocity along a trajectory varies about its mean: 0-d, 0 for straight lines at even speed.

    trajectory: (n + 1, B, ...), states at n + 1 equally spaced times of a unit of time, as from `samplers.trajectory`.
    The mean over steps and batch of ||(x_n - x_0) - n (x_{i+1} - x_i)||^2, the norm over all other axes.
    Raises ValueError for fewer than two states.
    Source: Liu et al., 2023, the measure of straightness S(Z), with its integral as a sum.
    """
    n = len(trajectory) - 1
    if trajectory.ndim < 2 or n < 1:
        raise ValueError(f"trajectory has shape {tuple(trajectory.shape)}; expected (n + 1, B, ...) with n >= 1")
    deviation = (trajectory[-1] - trajectory[0]) - n * trajectory.diff(dim=0)
    return deviation.square().sum() / deviation.shape[:2].numel()
