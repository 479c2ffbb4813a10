"""The answers, for those who want to cheat."""


def double(x):
    return 2 * x


def apply_twice(f, x):
    return f(f(x))
