"""Visible checks of lab03_series."""

import numpy as np
import torch

from labcheck import Battery, expect_close, expect_type
from tinycourse import series

lab = Battery("lab03_series", forbidden=("tinycourse.series",))


def expect_array(got, want, hint=""):
    """Fail unless a value is this numpy array."""
    expect_type(got, np.ndarray)
    expect_close(torch.from_numpy(got), torch.from_numpy(want), hint=hint)


def draw(rng, *shape):
    """Normal numbers around 3."""
    return 3 + torch.randn(*shape, generator=rng, dtype=torch.float64).numpy()


@lab.check("standardise", points=1)
def standardises_a_vector(answer, rng):
    """A vector of mean 0 and standard deviation 1."""
    x = draw(rng, 20)
    expect_array(answer.standardise(x), series.standardise(x), hint="subtract the mean, then divide by the deviation")


@lab.check("moving_average", points=1)
def averages_three_neighbours(answer, rng):
    """The mean of each three neighbours."""
    x = draw(rng, 9)
    expect_array(answer.moving_average(x, 3), series.moving_average(x, 3), hint="9 numbers have 7 such means")


@lab.check("running_mean", points=1)
def averages_what_came_so_far(answer, rng):
    """The mean of the first 1, 2, ... entries, as a list of floats."""
    x = draw(rng, 6)
    got = answer.running_mean(x)
    expect_type(got, list)
    expect_array(np.array(got), np.array(series.running_mean(x)), hint="divide the cumulative sum by 1, 2, ...")


@lab.check("spread", points=3)
def measures_from_end_to_end(answer, rng):
    """The largest minus the smallest entry, as a float."""
    x = draw(rng, 15)
    got = answer.spread(x)
    expect_type(got, float)
    expect_array(np.array(got), np.array(series.spread(x)), hint="the largest minus the smallest")
