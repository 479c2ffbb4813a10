"""Answers to `exact_divergence`."""

import torch


def _rows(f, x, t, create_graph=True):
    """x with a graph, and the gradients of each output component by x, (d, B, d)."""
    with torch.enable_grad():
        y = x if x.requires_grad else x.detach().clone().requires_grad_()
        out = f(y, t)
        if not out.requires_grad:
            return torch.zeros(x.shape[1], *x.shape, dtype=x.dtype)
        rows = [
            torch.autograd.grad(column.sum(), y, create_graph=create_graph, retain_graph=True)[0] for column in out.T
        ]
    return torch.stack(rows)


def wrong_sum_of_the_jacobian(f, x, t):
    """One gradient of the summed output: all entries of the Jacobian, not the diagonal."""
    with torch.enable_grad():
        y = x if x.requires_grad else x.detach().clone().requires_grad_()
        out = f(y, t)
        if not out.requires_grad:
            return torch.zeros(len(x), dtype=x.dtype)
        (gradient,) = torch.autograd.grad(out.sum(), y, create_graph=True)
    return gradient.sum(1)


def wrong_total_over_the_batch(f, x, t):
    """One number for all samples."""
    return _rows(f, x, t).diagonal(dim1=0, dim2=2).sum()


def wrong_mean_over_features(f, x, t):
    """The average of the diagonal."""
    return _rows(f, x, t).diagonal(dim1=0, dim2=2).mean(1)


def wrong_diagonal_kept(f, x, t):
    """Returns the diagonal, not its sum."""
    return _rows(f, x, t).diagonal(dim1=0, dim2=2)


def wrong_requires_grad_switched_on(f, x, t):
    """Leaves requires_grad set on the caller's x."""
    x.requires_grad_(True)
    return _rows(f, x, t).diagonal(dim1=0, dim2=2).sum(1)


def wrong_detached(f, x, t):
    """Always differentiates a detached copy: no gradient to x."""
    return _rows(f, x.detach(), t).diagonal(dim1=0, dim2=2).sum(1)


def wrong_without_create_graph(f, x, t):
    """First derivatives without a graph of their own."""
    return _rows(f, x, t, create_graph=False).diagonal(dim1=0, dim2=2).sum(1)


def wrong_graph_only_if_x_needs_one(f, x, t):
    """Keeps the graph for x's sake only: a network's parameters are cut off where x requires no gradients."""
    return _rows(f, x, t, create_graph=x.requires_grad).diagonal(dim1=0, dim2=2).sum(1)


def wrong_under_no_grad(f, x, t):
    """Fails where the caller has switched gradients off."""
    y = x if x.requires_grad else x.detach().clone().requires_grad_()
    out = f(y, t)
    if torch.is_grad_enabled() and not out.requires_grad:
        return torch.zeros(len(x), dtype=x.dtype)
    rows = [torch.autograd.grad(column.sum(), y, create_graph=True, retain_graph=True)[0] for column in out.T]
    return torch.stack(rows).diagonal(dim1=0, dim2=2).sum(1)


def wrong_on_constant_fields(f, x, t):
    """Fails where f does not depend on x."""
    with torch.enable_grad():
        y = x if x.requires_grad else x.detach().clone().requires_grad_()
        columns = f(y, t).T
        rows = [torch.autograd.grad(column.sum(), y, create_graph=True, retain_graph=True)[0] for column in columns]
    return torch.stack(rows).diagonal(dim1=0, dim2=2).sum(1)


def wrong_first_samples_jacobian(f, x, t):
    """One Jacobian for all samples."""
    jacobian = torch.autograd.functional.jacobian(lambda y: f(y, t).sum(0), x, create_graph=True)[:, 0]
    return jacobian.trace().expand(len(x))


def wrong_random_estimate(f, x, t):
    """An estimate with one random probe."""
    probe = torch.randn_like(x)
    rows = _rows(f, x, t)
    return torch.einsum("bi,ibj,bj->b", probe, rows, probe)


def wrong_finite_differences(f, x, t):
    """Differences of size 1e-3: close, not exact."""
    h, total = 1e-3, 0
    for i in range(x.shape[1]):
        e = torch.zeros_like(x)
        e[:, i] = h
        total = total + (f(x + e, t)[:, i] - f(x - e, t)[:, i]) / (2 * h)
    return total


def right_whole_jacobian(f, x, t):
    """torch's Jacobian of the outputs summed over the batch, which keeps samples apart."""
    jacobian = torch.autograd.functional.jacobian(
        lambda y: f(y, t).sum(0) + 0 * y.sum(), x, create_graph=torch.is_grad_enabled()
    )
    return torch.einsum("ibi->b", jacobian)


def right_forward_mode(f, x, t):
    """One Jacobian-vector product per axis, by torch.func."""
    total = torch.zeros_like(x[:, 0])
    for i in range(x.shape[1]):
        e = torch.zeros_like(x)
        e[:, i] = 1
        total = total + torch.func.jvp(lambda y: f(y, t), (x,), (e,))[1][:, i]
    return total


def right_vmapped(f, x, t):
    """A Jacobian for each sample by vmap over jacrev."""
    times = torch.as_tensor(t, dtype=x.dtype).expand(len(x))
    jacobian = torch.func.jacrev(lambda y, s: f(y[None], s[None])[0])
    return torch.vmap(lambda y, s: jacobian(y, s).trace())(x, times)
