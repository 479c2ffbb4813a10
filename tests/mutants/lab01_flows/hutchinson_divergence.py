"""Answers to `hutchinson_divergence`."""

import torch


def _product(f, x, t, v, create_graph=True):
    """v^T J for each sample, (B, d)."""
    with torch.enable_grad():
        y = x if x.requires_grad else x.detach().clone().requires_grad_()
        out = f(y, t)
        if not out.requires_grad:
            return torch.zeros_like(x)
        return torch.autograd.grad((out * v).sum(), y, create_graph=create_graph)[0]


def wrong_own_probe(f, x, t, probe):
    """Draws its own signs."""
    v = torch.randint(0, 2, x.shape).to(x.dtype) * 2 - 1
    return (_product(f, x, t, v) * v).sum(1)


def wrong_probe_used_once(f, x, t, probe):
    """Forgets the second product."""
    return _product(f, x, t, probe).sum(1)


def wrong_all_ones_on_one_side(f, x, t, probe):
    """Forgets the first product."""
    return (_product(f, x, t, torch.ones_like(x)) * probe).sum(1)


def wrong_mean_over_features(f, x, t, probe):
    """Averages where the sum belongs."""
    return (_product(f, x, t, probe) * probe).mean(1)


def wrong_total_over_the_batch(f, x, t, probe):
    """One number for all samples."""
    return (_product(f, x, t, probe) * probe).sum()


def wrong_normalised_probe(f, x, t, probe):
    """Divides by |v|², as a Rayleigh quotient."""
    return (_product(f, x, t, probe) * probe).sum(1) / probe.square().sum(1)


def wrong_squared_length(f, x, t, probe):
    """The squared length of v^T J."""
    return _product(f, x, t, probe).square().sum(1)


def wrong_diagonal_only(f, x, t, probe):
    """Returns the products without summing."""
    return _product(f, x, t, probe) * probe


def wrong_requires_grad_switched_on(f, x, t, probe):
    """Leaves requires_grad set on the caller's x."""
    x.requires_grad_()
    return (_product(f, x, t, probe) * probe).sum(1)


def wrong_without_create_graph(f, x, t, probe):
    """The gradient's own graph is missing."""
    return (_product(f, x, t, probe, create_graph=False) * probe).sum(1)


def wrong_graph_only_if_x_needs_one(f, x, t, probe):
    """Keeps the graph for x's sake only: a network's parameters are cut off where x requires no gradients."""
    return (_product(f, x, t, probe, create_graph=x.requires_grad) * probe).sum(1)


def wrong_detached(f, x, t, probe):
    """Always differentiates a detached copy."""
    return (_product(f, x.detach(), t, probe) * probe).sum(1)


def wrong_under_no_grad(f, x, t, probe):
    """Fails where the caller has switched gradients off."""
    y = x if x.requires_grad else x.detach().clone().requires_grad_()
    out = f(y, t)
    if torch.is_grad_enabled() and not out.requires_grad:
        return torch.zeros(len(x), dtype=x.dtype)
    return (torch.autograd.grad((out * probe).sum(), y, create_graph=True)[0] * probe).sum(1)


def wrong_on_constant_fields(f, x, t, probe):
    """Fails where f does not depend on x."""
    with torch.enable_grad():
        y = x if x.requires_grad else x.detach().clone().requires_grad_()
        return (torch.autograd.grad((f(y, t) * probe).sum(), y, create_graph=True)[0] * probe).sum(1)


def right_forward_mode(f, x, t, probe):
    """A Jacobian-vector product by torch.func.jvp."""
    return torch.einsum("bi,bi->b", probe, torch.func.jvp(lambda y: f(y, t), (x,), (probe,))[1])


def right_functional_vjp(f, x, t, probe):
    """A vector-Jacobian product by torch.func.vjp."""
    _, pull_back = torch.func.vjp(lambda y: f(y, t), x)
    (row,) = pull_back(probe)
    return (row * probe).sum(-1)


def right_through_the_jacobian(f, x, t, probe):
    """Wasteful: the whole Jacobian, then the quadratic form."""
    jacobian = torch.autograd.functional.jacobian(
        lambda y: f(y, t).sum(0) + 0 * y.sum(), x, create_graph=torch.is_grad_enabled()
    )
    return torch.einsum("bi,ibj,bj->b", probe, jacobian, probe)
