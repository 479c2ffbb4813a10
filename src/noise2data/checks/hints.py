"""Which sentence helps: well-known mistakes known by their value, and hints shown only where they apply."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

EARLIER = "if an earlier check fails too, mend that one first"
ROUNDED = "something is rounded on the way: compute the factors in the dtype that they come in, and cast them last"
CAST_LAST = "compute the coefficients in abar's dtype, then cast them to x's"


def recognise(got: Any, mistakes: dict[str, torch.Tensor], otherwise: str = "") -> str:
    """The sentence of the well-known mistake whose value this is, for a message."""
    if not isinstance(got, torch.Tensor) or got.is_complex():
        return otherwise
    for sentence, wrong in mistakes.items():
        if got.shape == wrong.shape and torch.allclose(got.double(), wrong.double(), rtol=1e-4, atol=1e-7):
            return sentence
    return otherwise


def advice(hint: str, applies: bool) -> str:
    """A hint where it applies; elsewhere the advice to look at an earlier check."""
    return hint if applies else EARLIER


def differs_little(got: Any, want: torch.Tensor, limit: float = 1e-3) -> bool:
    """Whether a value has the wanted shape and misses by rounding at most, relative to the largest entry."""
    if not isinstance(got, torch.Tensor) or got.is_complex() or got.shape != want.shape:
        return False
    got, want = got.detach().double(), want.double()
    scale = want.abs().max().clamp(min=1e-300)
    return bool(((got - want).abs().max() / scale) < limit)  # NaN and inf are not little


def is_right(call: Callable[[], Any], want: torch.Tensor, limit: float = 1e-3) -> bool:
    """Whether another call of the student's function gives the wanted value; an error is not right."""
    try:
        return differs_little(call(), want, limit)
    except Exception:
        return False
