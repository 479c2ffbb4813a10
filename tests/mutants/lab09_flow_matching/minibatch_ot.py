"""Answers to minibatch_ot, wrong and right."""

import itertools

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment


def _costs(x0, eps):
    a, b = (part.detach().flatten(1).double() for part in (x0, eps))
    return (a[:, None] - b).square().sum(2)


def _best(costs):
    return torch.from_numpy(linear_sum_assignment(costs.numpy())[1])


def wrong_as_it_is(x0, eps):
    """Independent pairs."""
    return eps.clone()


def wrong_inverse(x0, eps):
    """The inverse permutation."""
    return eps[_best(_costs(x0, eps)).argsort()]


def wrong_transposed_costs(x0, eps):
    """Rows and columns of the costs exchanged."""
    return eps[_best(_costs(eps, x0))]


def wrong_data_reordered(x0, eps):
    """x0 in the order of eps."""
    return x0[_best(_costs(eps, x0))]


def wrong_distances_not_squared(x0, eps):
    """The sum of distances."""
    return eps[_best(_costs(x0, eps).sqrt())]


def wrong_absolute_distances(x0, eps):
    """The sum of absolute differences."""
    a, b = (part.detach().flatten(1).double() for part in (x0, eps))
    return eps[_best((a[:, None] - b).abs().sum(2))]


def wrong_nearest(x0, eps):
    """The nearest noise for each, used as often as it is nearest."""
    return eps[_costs(x0, eps).argmin(1)]


def wrong_greedy(x0, eps):
    """The nearest of those that are left, row by row."""
    costs, order = _costs(x0, eps), []
    for row in costs:
        row = row.clone()
        row[order] = torch.inf
        order.append(int(row.argmin()))
    return eps[order]


def wrong_greedy_by_pairs(x0, eps):
    """The nearest pair of all first, then the nearest of the rest."""
    costs = _costs(x0, eps)
    order = [0] * len(x0)
    for _ in range(len(x0)):
        i, j = divmod(int(costs.argmin()), len(eps))
        order[i] = j
        costs[i], costs[:, j] = torch.inf, torch.inf
    return eps[order]


def wrong_largest(x0, eps):
    """The dearest order."""
    return eps[_best(-_costs(x0, eps))]


def wrong_sorted_by_length(x0, eps):
    """The k-th longest noise for the k-th longest picture."""
    rank = x0.flatten(1).norm(dim=1).argsort().argsort()
    return eps[eps.flatten(1).norm(dim=1).argsort()[rank]]


def wrong_sorted_by_the_first_feature(x0, eps):
    """Exact on a line, and only there."""
    rank = x0.flatten(1)[:, 0].argsort().argsort()
    return eps[eps.flatten(1)[:, 0].argsort()[rank]]


def wrong_every_order(x0, eps):
    """All orders of the first six, the rest as it is."""
    n = min(6, len(x0))
    costs = _costs(x0, eps)
    best = min(itertools.permutations(range(n)), key=lambda o: sum(costs[i, j].item() for i, j in enumerate(o)))
    return eps[[*best, *range(n, len(x0))]]


def wrong_points_only(x0, eps):
    """torch.cdist of images compares rows of pixels."""
    if x0.ndim > 2:
        return eps[_best((x0[:, None, 0, 0] - eps[None, :, 0, 0]).double().square().sum(2))]
    return eps[_best(_costs(x0, eps))]


def wrong_not_flattened(x0, eps):
    """Distances of images as they are: no matrix of costs."""
    return eps[_best(torch.cdist(x0.detach().double(), eps.detach().double()) ** 2)]


def wrong_flattened(x0, eps):
    """The noises come back flat."""
    return eps.flatten(1)[_best(_costs(x0, eps))]


def wrong_float64_out(x0, eps):
    """The result is float64."""
    return eps.double()[_best(_costs(x0, eps))]


def wrong_numpy(x0, eps):
    """Through numpy: no gradients, and an error where they are asked for."""
    a, b = x0.flatten(1).numpy(), eps.flatten(1).numpy()
    return torch.from_numpy(eps.numpy()[linear_sum_assignment(((a[:, None] - b) ** 2).sum(2))[1]])


def wrong_detached(x0, eps):
    """Outside the graph."""
    return eps.detach()[_best(_costs(x0, eps))]


def wrong_in_place(x0, eps):
    """eps itself is reordered."""
    eps.data.copy_(eps.detach()[_best(_costs(x0, eps))])
    return eps.clone()


def right_costs(x0, eps):
    """Squared distances, and scipy."""
    return eps[_best(_costs(x0, eps))]


def right_products(x0, eps):
    """The largest sum of inner products."""
    gain = torch.einsum("i...,j...->ij", x0.detach().double(), eps.detach().double())
    rows, columns = linear_sum_assignment(gain.numpy(), maximize=True)
    order = torch.empty(len(x0), dtype=torch.int64)
    order[torch.from_numpy(rows)] = torch.from_numpy(columns)
    return eps.index_select(0, order)


def right_hungarian(x0, eps):
    """The Hungarian algorithm by hand: one row after the other, by shortest augmenting paths and potentials."""
    costs, n = _costs(x0, eps).numpy(), len(x0)
    u, v = np.zeros(n + 1), np.zeros(n + 1)
    row_of, way = np.zeros(n + 1, dtype=int), np.zeros(n + 1, dtype=int)  # column 0 holds the row that is to be placed
    for row in range(1, n + 1):
        row_of[0], column = row, 0
        least, used = np.full(n + 1, np.inf), np.zeros(n + 1, dtype=bool)
        while True:
            used[column] = True
            reduced = np.concatenate([[np.inf], costs[row_of[column] - 1] - u[row_of[column]] - v[1:]])
            better = ~used & (reduced < least)
            least[better], way[better] = reduced[better], column
            following = int(np.where(used, np.inf, least).argmin())
            delta = least[following]
            u[row_of[used]] += delta
            v[used] -= delta
            least[~used] -= delta
            column = following
            if row_of[column] == 0:
                break
        while column:
            row_of[column], column = row_of[way[column]], way[column]
    order = np.empty(n, dtype=int)
    order[row_of[1:] - 1] = np.arange(n)
    return eps[torch.from_numpy(order)]
