"""Hidden checks of lab01_numbers."""

import torch

from labcheck import Battery, expect_close

lab = Battery("lab01_numbers", hidden=True)


@lab.check("double", points=1)
def keeps_the_dtype(answer, rng):
    """A tensor of float64 gives float64, an empty one an empty one."""
    x = torch.randn(2, 3, generator=rng, dtype=torch.float64)
    expect_close(answer.double(x), x + x)
    expect_close(answer.double(torch.empty(0)), torch.empty(0))
