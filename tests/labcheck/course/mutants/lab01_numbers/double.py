"""Answers to double."""


def wrong_triples(x):
    """Three times x."""
    return 3 * x


def wrong_casts_to_float32(x):
    """Right for float32 alone, which only a hidden check sees."""
    return (2 * x).float()


def right_adds(x):
    """x plus x."""
    return x + x


def right_subtracts(x):
    return x - (-x)
