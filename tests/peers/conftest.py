"""Agreement with other libraries, in an environment of its own that has them (benchmarks/peers.txt).

Elsewhere these files are not collected, so that nothing is skipped.
"""

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest
import torch

from noise2data.mixtures import GaussianMixture

PEERS = ("diffusers", "k_diffusion", "denoising_diffusion_pytorch", "torchcfm", "smalldiffusion", "flow_matching")

collect_ignore_glob = [] if all(find_spec(name) for name in PEERS) else ["test_*.py"]


@pytest.fixture(scope="session")
def mixture():
    """Data whose denoiser is exact, without symmetries that could hide a wrong sign."""
    return GaussianMixture([[0.9, -0.3], [-0.6, 0.4], [0.1, 1.1]], [0.5, 0.3, 0.2], [0.15, 0.3, 0.2])


@pytest.fixture
def randn():
    """Standard normal float64 tensors, from a fixed seed for each test."""
    generator = torch.Generator().manual_seed(0)
    return lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.fixture(scope="session")
def k_diffusion():
    """`k_diffusion(name)` imports a module of k-diffusion, without the package's own __init__.

    That one imports the whole training half, and with it Inception, CLIP and packages that ours has no use for.
    """
    if "k_diffusion" not in sys.modules:
        package = ModuleType("k_diffusion")
        package.__path__ = [str(Path(find_spec("k_diffusion").origin).parent)]
        sys.modules["k_diffusion"] = package
    return lambda name: import_module(f"k_diffusion.{name}")
