"""What a check says about a value: the shape, the dtype, the size of the error, and a hint."""

from __future__ import annotations

import html
import re
from typing import Any

import numpy as np
import torch

from labcheck.inside.wire import Handle, Opaque


class CheckFailed(AssertionError):
    """A check found something wrong; the message is written for the student."""

    def _render_traceback_(self) -> list[str]:
        # IPython shows this list of lines in place of a stack trace through the grader.
        return [str(self)]


# Relative and absolute tolerance where a check names none: some hundred rounding errors.
_TOLERANCE = {
    torch.float64: 1e-9, torch.float32: 2e-5, torch.float16: 1e-2, torch.bfloat16: 5e-2,
    torch.complex128: 1e-9, torch.complex64: 2e-5,
}  # fmt: skip

_FLOAT32 = 1e-6  # relative error, some ten roundings


def expect(condition: object, message: str) -> None:
    """Fail with a message unless the condition holds."""
    if not bool(condition):
        raise CheckFailed(message)


def expect_type(got: object, kind: type[Any] | tuple[type[Any], ...], what: str = "the result") -> None:
    """Fail unless a value is of a type (or one of a tuple of types); bool does not count as a number."""
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if not isinstance(got, kinds) or (isinstance(got, bool) and bool not in kinds):
        wanted = " or ".join(_name(k) for k in kinds)
        raise CheckFailed(f"{what} should be {wanted}, not {describe(got)}")


def expect_close(
    got: Any,
    want: torch.Tensor | float,
    *,
    rtol: float | None = None,
    atol: float | None = None,
    hint: str = "",
    what: str = "the result",
    dtype: bool = True,
) -> None:
    """Fail unless a value is the wanted one: type, shape, dtype, finite, close.

    Args:
        got: the student's value.
        want: a tensor, or a Python number (then a number or a 0-d tensor is right).
        rtol, atol: tolerances; by default both depend on the wanted dtype (float64 1e-9,
            float32 2e-5), ``atol`` relative to the largest wanted magnitude.
        hint: one sentence shown when the values differ.
        what: the name of the value, for the message.
        dtype: whether the dtype must be the wanted one.

    Raises:
        CheckFailed: with the first difference found.
    """
    if isinstance(want, (int, float)):
        expect_type(got, (int, float, torch.Tensor), what)
        if isinstance(got, torch.Tensor):
            expect(got.numel() == 1, f"{what} should be a scalar, but has shape {tuple(got.shape)}")
        want = torch.as_tensor(float(want), dtype=torch.float64)
        got = got.detach().reshape(()) if isinstance(got, torch.Tensor) else torch.tensor(got, dtype=torch.float64)
        got = got if got.is_complex() else got.double()
    expect_type(got, torch.Tensor, what)
    if got.shape != want.shape:
        raise CheckFailed(f"{what} has shape {tuple(got.shape)}; expected {tuple(want.shape)}" + _dash(hint))
    if dtype and got.dtype != want.dtype:
        raise CheckFailed(f"{what} has dtype {_dtype(got)}; expected {_dtype(want)}" + _dash(hint))
    wanted_dtype, tolerance = want.dtype, _TOLERANCE.get(want.dtype, 0.0)
    wide = torch.complex128 if got.is_complex() or want.is_complex() else torch.float64
    got, want = got.detach().to(wide), want.detach().to(wide)
    if not want.numel():
        return
    same = (got == want) | (got.isnan() & want.isnan())
    bad = (~got.isfinite() | ~want.isfinite()) & ~same
    if bad.any():
        where = bad.nonzero()[0].tolist()
        value, wanted = got[tuple(where)].item(), want[tuple(where)].item()
        at = f" at index {where}" if where else ""
        raise CheckFailed(f"{what} is {value:.6g}{at}; expected {wanted:.6g}" + _dash(hint))
    finite = want[want.isfinite()]
    scale = finite.abs().max().item() if finite.numel() else 0.0
    rtol = tolerance if rtol is None else rtol
    atol = tolerance * max(scale, 1e-6) if atol is None else atol
    error = (got - want).abs().masked_fill(same, 0)
    if (error > atol + rtol * want.abs().masked_fill(same, 0)).any():
        where = error.argmax()
        worst = f"got {got.flatten()[where].item():.6g}, expected {want.flatten()[where].item():.6g}"
        if wanted_dtype == torch.float64 and error.max() < _FLOAT32 * scale:
            worst += "; so small an error comes from float32 somewhere on the way"
        raise CheckFailed(f"{what} is off by up to {error.max().item():.3g} ({worst})" + _dash(hint))


def describe(value: object) -> str:
    """A value's type in a student's words."""
    if isinstance(value, torch.Tensor):
        return f"a tensor of shape {tuple(value.shape)} and dtype {_dtype(value)}"
    if isinstance(value, np.ndarray):
        return f"a numpy array of shape {value.shape}"
    if isinstance(value, (Handle, Opaque)):
        return f"an object of type {value.kind}"
    if value is None:
        return "None (is a return missing?)"
    if isinstance(value, (list, tuple)):
        return f"a {type(value).__name__} of length {len(value)}"
    return _name(type(value))


def code_html(sentence: str) -> str:
    """HTML of a sentence, with what stands between backticks as code."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", html.escape(sentence))


def _name(kind: type[Any]) -> str:
    name = {torch.Tensor: "torch tensor", Handle: "callable"}.get(kind, kind.__name__)
    return f"{'an' if name[:1] in 'aeiou' else 'a'} {name}"


def _dtype(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _dash(hint: str) -> str:
    return f" — {hint}" if hint else ""
