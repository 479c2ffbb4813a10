"""Hidden checks of lab03_series."""

import numpy as np
from tinycourse import series
from tinycourse.checks.lab03_series import draw, expect_array

from labcheck import Battery, expect, expect_type

lab = Battery("lab03_series", hidden=True)


@lab.check("standardise", points=2)
def standardises_each_row(answer, rng):
    """Each row of a matrix for itself, and the argument stays as it is."""
    x = draw(rng, 3, 8)
    seen = answer.observe("standardise", x)
    expect_array(seen.value, series.standardise(x))
    expect(np.array_equal(seen.args[0], x), "should leave its argument as it is")


@lab.check("moving_average", points=2)
def averages_any_width(answer, rng):
    """The whole width gives one mean, a width of one the vector itself."""
    x = draw(rng, 12)
    for width in (1, 5, 12):
        expect_array(answer.moving_average(x, width), series.moving_average(x, width))


@lab.check("running_mean", points=2)
def averages_a_long_vector(answer, rng):
    """A thousand entries."""
    x = draw(rng, 1000)
    got = answer.running_mean(x)
    expect_type(got, list)
    expect_array(np.array(got), np.array(series.running_mean(x)))
