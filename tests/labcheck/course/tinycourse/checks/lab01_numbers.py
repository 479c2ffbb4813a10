"""Visible checks of lab01_numbers."""

import torch

from labcheck import Battery, expect, expect_close

lab = Battery("lab01_numbers", fixtures="tinycourse.checks.fixtures", forbidden=("tinycourse.answers",))


@lab.check("double", points=2)
def doubles_a_vector(answer, rng):
    """Twice each entry."""
    x = torch.randn(5, generator=rng)
    expect_close(answer.double(x), x + x, hint="multiply by two")


@lab.check("apply_twice", points=1)
def applies_in_order(answer, rng):
    """f(f(x)), with two calls."""
    x, scale = torch.rand(2, generator=rng, dtype=torch.float64)
    f = answer.fixture("affine", scale=scale + 2, shift=1.0)
    expect_close(answer.apply_twice(f, x), (scale + 2) * ((scale + 2) * x + 1) + 1)
    expect(answer.calls(f) == 2, "should call f exactly twice")
