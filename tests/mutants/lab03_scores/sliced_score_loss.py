"""Answers to sliced_score_loss, wrong and right."""

import torch


def _terms(score_net, x, probe, create_graph=True):
    """v·∇(v·s) and v·s for each sample, (B,) and (B,), and s."""
    y = x if x.requires_grad else x.detach().requires_grad_()
    score = score_net(y)
    along = (score * probe).flatten(1).sum(1)
    (product,) = torch.autograd.grad(along.sum(), y, create_graph=create_graph, retain_graph=True)
    return (product * probe).flatten(1).sum(1), along, score


def wrong_variance_reduced(score_net, x, probe):
    """|s|²/2 in place of (v·s)²/2."""
    curvature, _, score = _terms(score_net, x, probe)
    return (curvature + score.square().flatten(1).sum(1) / 2).mean()


def wrong_half_forgotten(score_net, x, probe):
    """The square without its 1/2."""
    curvature, along, _ = _terms(score_net, x, probe)
    return (curvature + along**2).mean()


def wrong_half_of_everything(score_net, x, probe):
    """1/2 before both terms."""
    curvature, along, _ = _terms(score_net, x, probe)
    return (curvature + along**2).mean() / 2 - along.square().mean() / 4


def wrong_mean_over_features(score_net, x, probe):
    """Averages over the features where the sum belongs."""
    y = x if x.requires_grad else x.detach().requires_grad_()
    along = (score_net(y) * probe).flatten(1).mean(1)
    (product,) = torch.autograd.grad(along.sum(), y, create_graph=True)
    return ((product * probe).flatten(1).sum(1) + along**2 / 2).mean()


def wrong_sum_over_the_batch(score_net, x, probe):
    """The sum over the batch."""
    curvature, along, _ = _terms(score_net, x, probe)
    return (curvature + along**2 / 2).sum()


def wrong_sign_of_the_derivative(score_net, x, probe):
    """Minus the derivative: the loss of an energy's gradient."""
    curvature, along, _ = _terms(score_net, x, probe)
    return (along**2 / 2 - curvature).mean()


def wrong_second_probe_forgotten(score_net, x, probe):
    """Sums the entries of the gradient."""
    y = x if x.requires_grad else x.detach().requires_grad_()
    along = (score_net(y) * probe).flatten(1).sum(1)
    (product,) = torch.autograd.grad(along.sum(), y, create_graph=True)
    return (product.flatten(1).sum(1) + along**2 / 2).mean()


def wrong_derivative_of_the_mean(score_net, x, probe):
    """Differentiates the mean over the batch: the derivative is B times too small."""
    y = x if x.requires_grad else x.detach().requires_grad_()
    along = (score_net(y) * probe).flatten(1).sum(1)
    (product,) = torch.autograd.grad(along.mean(), y, create_graph=True)
    return ((product * probe).flatten(1).sum(1) + along**2 / 2).mean()


def wrong_square_of_the_mean(score_net, x, probe):
    """Averages over the batch before squaring."""
    curvature, along, _ = _terms(score_net, x, probe)
    return curvature.mean() + along.mean() ** 2 / 2


def wrong_without_create_graph(score_net, x, probe):
    """The derivative has no graph: the network learns from the square alone."""
    curvature, along, _ = _terms(score_net, x, probe, create_graph=False)
    return (curvature + along**2 / 2).mean()


def wrong_square_detached(score_net, x, probe):
    """The square has no graph: the derivative falls without bound."""
    curvature, along, _ = _terms(score_net, x, probe)
    return (curvature + along.detach() ** 2 / 2).mean()


def wrong_graph_freed(score_net, x, probe):
    """Neither create_graph nor retain_graph."""
    y = x if x.requires_grad else x.detach().requires_grad_()
    along = (score_net(y) * probe).flatten(1).sum(1)
    (product,) = torch.autograd.grad(along.sum(), y)
    return ((product * probe).flatten(1).sum(1) + along**2 / 2).mean()


def wrong_needs_a_leaf(score_net, x, probe):
    """Takes for granted that x requires gradients."""
    along = (score_net(x) * probe).flatten(1).sum(1)
    (product,) = torch.autograd.grad(along.sum(), x, create_graph=True)
    return ((product * probe).flatten(1).sum(1) + along**2 / 2).mean()


def wrong_requires_grad_switched_on(score_net, x, probe):
    """Leaves requires_grad set on the caller's x."""
    curvature, along, _ = _terms(score_net, x.requires_grad_(), probe)
    return (curvature + along**2 / 2).mean()


def wrong_x_detached(score_net, x, probe):
    """Always works on a detached copy: no gradient reaches x."""
    curvature, along, _ = _terms(score_net, x.detach(), probe)
    return (curvature + along**2 / 2).mean()


def wrong_own_probe(score_net, x, probe):
    """Draws its own signs."""
    curvature, along, _ = _terms(score_net, x, torch.randint_like(probe, 0, 2) * 2 - 1)
    return (curvature + along**2 / 2).mean()


def wrong_normalised_probe(score_net, x, probe):
    """Makes the probes unit vectors."""
    unit = torch.nn.functional.normalize(probe.flatten(1), dim=1).view_as(probe)
    curvature, along, _ = _terms(score_net, x, unit)
    return (curvature + along**2 / 2).mean()


def wrong_sum_over_the_last_axis(score_net, x, probe):
    """Right for (B, d); of images it sums one axis only."""
    y = x if x.requires_grad else x.detach().requires_grad_()
    along = (score_net(y) * probe).sum(-1)
    (product,) = torch.autograd.grad(along.sum(), y, create_graph=True)
    return ((product * probe).sum(-1) + along**2 / 2).mean()


def wrong_loss_per_sample(score_net, x, probe):
    """One number for each sample."""
    curvature, along, _ = _terms(score_net, x, probe)
    return curvature + along**2 / 2


def wrong_item(score_net, x, probe):
    """A number to print, which trains nothing."""
    curvature, along, _ = _terms(score_net, x, probe)
    return (curvature + along**2 / 2).mean().detach()


def wrong_float64(score_net, x, probe):
    """Computes in float64 and stays there."""
    curvature, along, _ = _terms(score_net, x.double(), probe.double())
    return (curvature + along**2 / 2).mean()


def wrong_exact_trace(score_net, x, probe):
    """The whole divergence in place of v·∇(v·s)."""
    y = x if x.requires_grad else x.detach().requires_grad_()
    score = score_net(y).flatten(1)
    trace = 0
    for i in range(score.shape[1]):
        (row,) = torch.autograd.grad(score[:, i].sum(), y, create_graph=True, retain_graph=True)
        trace = trace + row.flatten(1)[:, i]
    return (trace + (score * probe.flatten(1)).sum(1) ** 2 / 2).mean()


def right_forward_mode(score_net, x, probe):
    """A Jacobian-vector product by torch.func.jvp."""
    score, product = torch.func.jvp(score_net, (x,), (probe,))
    sums = [(part * probe).flatten(1).sum(1) for part in (product, score)]
    return (sums[0] + 0.5 * sums[1].square()).mean()


def right_functional_vjp(score_net, x, probe):
    """A vector-Jacobian product by torch.func.vjp."""
    score, pull_back = torch.func.vjp(score_net, x)
    (row,) = pull_back(probe)
    along = torch.einsum("bi,bi->b", probe.flatten(1), score.flatten(1))
    return torch.einsum("bi,bi->b", row.flatten(1), probe.flatten(1)).mean() + along.dot(along) / (2 * len(x))


def right_sample_by_sample(score_net, x, probe):
    """A loop over the batch, each sample with its own graph."""
    losses = []
    for i in range(len(x)):
        y = x[i : i + 1] if x.requires_grad else x[i : i + 1].clone().requires_grad_(True)
        along = (probe[i] * score_net(y)[0]).sum()
        gradient = torch.autograd.grad(along, y, create_graph=True)[0]
        losses.append((gradient[0] * probe[i]).sum() + along.square() / 2)
    return torch.stack(losses).mean()
