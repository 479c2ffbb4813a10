"""Visible checks of lab02_makers."""

import torch

from labcheck import Battery, expect, expect_close, expect_type
from labcheck.inside.modules import fill
from labcheck.inside.wire import Handle

lab = Battery("lab02_makers", fixtures="tinycourse.checks.fixtures")


@lab.check("make_scaler", points=1)
def scales(answer, rng):
    """make_scaler(k) gives a callable that multiplies by k."""
    x = torch.randn(4, generator=rng)
    scaler = answer.make_scaler(3.0)
    expect_type(scaler, Handle, "make_scaler(3.0)")
    expect_close(answer.call(scaler, x), 3 * x)


@lab.check("make_scaler", points=1)
def lets_gradients_through(answer, rng):
    """The gradient by x is k."""
    x, cotangent = torch.randn(2, 4, generator=rng)
    (gradient,) = answer.gradient(answer.make_scaler(3.0), x, wrt=[0], cotangent=cotangent).grads
    expect(gradient is not None, "should keep the graph")
    expect_close(gradient, 3 * cotangent)


class Reference(torch.nn.Module):
    """last(tanh(first(x)))."""

    def __init__(self, width):
        super().__init__()
        self.first = torch.nn.Linear(2, width)
        self.last = torch.nn.Linear(width, 1)

    def forward(self, x):
        return self.last(torch.tanh(self.first(x)))


@lab.check("make_net", points=1)
def has_two_layers(answer, rng):
    """make_net(width) is a module with `first` and `last`, all of whose parameters are trained."""
    net = answer.module(answer.make_net(5))
    count = net.parameter_count(trainable=True)
    expect(count == 21, f"has {count} trained parameters; expected 21 for a width of 5")


@lab.check("make_net", points=1)
def computes_the_right_function(answer, rng):
    """With parameters of the same names and values, the net gives the same values and gradients."""
    width = 3 + int(torch.randint(4, (), generator=rng))
    reference = Reference(width)
    fill(reference, int(torch.randint(2**31, (), generator=rng)))
    net = answer.module(answer.make_net(width))
    net.load_state(reference.state_dict())
    x, cotangent = torch.randn(4, 2, generator=rng), torch.randn(4, 1, generator=rng)
    seen = answer.gradient(net, x, wrt=[0], cotangent=cotangent, parameters=net)
    x.requires_grad_(True)
    want = reference(x)
    expect_close(seen.value, want, hint="apply first, then tanh, then last")
    (want * cotangent).sum().backward()
    expect(seen.grads[0] is not None, "should keep the graph")
    expect_close(seen.grads[0], x.grad, what="the gradient by x")
    for name, parameter in reference.named_parameters():
        expect(seen.parameter_grads[name] is not None, f"{name} has no gradient: is it trained, and used?")
        expect_close(seen.parameter_grads[name], parameter.grad, what=f"the gradient by {name}")


@lab.check("predict", points=1)
def predicts_without_noise(answer, rng):
    """predict(net, x) calls the net once, in evaluation mode, without a graph, and restores its mode."""
    x, scale = torch.randn(8, generator=rng), torch.rand((), generator=rng) + 1
    for mode in (True, False):
        net = answer.module(answer.fixture("noisy_gain", scale=scale))
        net.train(mode)
        seen = answer.observe("predict", net, x)
        expect_close(seen.value, scale * x, hint="is the net in evaluation mode?")
        expect(not seen.requires_grad, "should not keep a graph")
        expect(answer.calls(net) == 1, "should call the net exactly once")
        expect(answer.attribute(net, "training") is mode, "should leave the net in the mode that it had")
