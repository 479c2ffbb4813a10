"""Callables that checks pass in."""


def affine(scale, shift):
    """x -> scale x + shift."""
    return lambda x: scale * x + shift
