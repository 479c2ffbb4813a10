"""Visible checks of lab02_makers."""

import torch

from labcheck import Battery, expect, expect_close, expect_type
from labcheck.inside.wire import Handle

lab = Battery("lab02_makers", fixtures="tinycourse.checks.fixtures")


@lab.check("make_scaler", points=1)
def scales(answer, rng):
    """make_scaler(k) gives a callable that multiplies by k."""
    x = torch.randn(4, generator=rng)
    scaler = answer.make_scaler(3.0)
    expect_type(scaler, Handle, "make_scaler(3.0)")
    expect_close(answer.observe(scaler, x).value, 3 * x)


@lab.check("make_scaler", points=1)
def lets_gradients_through(answer, rng):
    """The gradient by x is k."""
    x, cotangent = torch.randn(2, 4, generator=rng)
    (gradient,) = answer.gradient(answer.make_scaler(3.0), x, wrt=[0], cotangent=cotangent).grads
    expect(gradient is not None, "should keep the graph")
    expect_close(gradient, 3 * cotangent)
