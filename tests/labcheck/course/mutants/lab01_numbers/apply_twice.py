"""Answers to apply_twice."""


def wrong_applies_once(f, x):
    """f of x."""
    return f(x)


def wrong_calls_too_often(f, x):
    """The right value, with three calls."""
    f(x)
    return f(f(x))


def right_loops(f, x):
    """A loop of two."""
    for _ in range(2):
        x = f(x)
    return x
