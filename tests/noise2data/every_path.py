"""One path of each kind, for tests that hold on all of them, and normal numbers from a fixed seed."""

import pytest
import torch

from noise2data.paths import VE, Discrete, Linear, VPCosine, VPLinear
from noise2data.schedules import cosine_alpha_bar

PATHS = {
    "vp_linear": VPLinear(),
    "vp_cosine": VPCosine(),
    "ve": VE(0.01, 20.0),
    "linear": Linear(),
    "discrete": Discrete(cosine_alpha_bar(20)),
}
each_path = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())


def randn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)
