"""What several labs expect: rows that belong to their levels, losses, arguments left alone, gradients that arrive."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch

from labcheck import expect, expect_close, expect_type
from labcheck.answer import AnswerError, Observation
from labcheck.expect import CheckFailed
from noise2data.checks.hints import ROUNDED, advice, differs_little, is_right


def with_rows(call: Callable[..., Any], *args: Any) -> Any:
    """call(*args), of which one is (B,); torch's message on sizes that do not match gets the reason."""
    try:
        return call(*args)
    except AnswerError as error:
        if "must match the size" not in str(error):
            raise
        why = "a factor for each sample has shape (B,); give it (B, 1, ..., 1)"
        raise AnswerError(f"{error} — {why}", error.status) from None


def expect_rows(
    call: Callable[..., Any],
    args: tuple[Any, ...],
    at: int,
    want: torch.Tensor,
    *,
    hint: str,
    ends: Mapping[int, str] | None = None,
    what: str = "the result",
    rtol: float = 1e-7,
    atol: float | None = None,
) -> None:
    """Fail unless call(*args) is the wanted value, row i of it belonging to entry i of args[at], steps or times (B,).

    The hint is about rows and shapes. It is shown only where the same levels, given as numbers, are right.
    ends: {level: hint} for levels that have one of their own, shown where no other row is wrong.
    """
    levels = args[at]
    got = with_rows(call, *args)
    try:
        expect_close(got, want, rtol=rtol, atol=atol, dtype=False, what=what)
    except CheckFailed:
        pass
    else:
        return
    if differs_little(got, want):
        wrong = []
    else:
        wrong = [i for i in range(len(levels)) if not (_same_shape(got, want) and differs_little(got[i], want[i]))]
    values = {levels[i].item() for i in wrong}
    if not wrong:
        hint = ROUNDED
    elif ends and len(values) == 1 and values <= set(ends):
        hint = ends[values.pop()]
    else:

        def is_right_as_number(i: int) -> bool:
            return is_right(lambda: call(*args[:at], levels[i].item(), *args[at + 1 :])[i], want[i])

        hint = advice(hint, all(map(is_right_as_number, wrong)))
    expect_close(got, want, rtol=rtol, atol=atol, dtype=False, what=what, hint=hint)


def _same_shape(got: Any, want: torch.Tensor) -> bool:
    return isinstance(got, torch.Tensor) and got.shape == want.shape


def expect_untouched(seen: Observation, *given: Any) -> None:
    """Fail if a call changed one of its arguments or its requires_grad, or drew random numbers.

    given: the positional arguments as they were, in order; what is no tensor is not looked at.
    """
    for position, before in enumerate(given):
        if isinstance(before, torch.Tensor):
            after = seen.args[position]
            same = isinstance(after, torch.Tensor) and torch.equal(after, before)
            expect(same, f"argument {position + 1} was changed in place; make a new tensor, without +=, *= or an index")
    expect(
        seen.kept_requires_grad,
        "requires_grad of an argument was changed; where x requires no gradients work on "
        "`x.detach().requires_grad_()`, otherwise on x itself",
    )
    expect(not seen.global_draws, "random numbers were drawn from the global generator")


def expect_gradient(
    seen: Observation, index: int, want: torch.Tensor, name: str, part: Any = ..., hint: str = ""
) -> None:
    """Fail unless the gradient with respect to an argument is there and is the wanted one.

    index: of the gradient among those asked for. part: the entries that are looked at.
    """
    got = seen.grads[index]
    if got is None:
        raise CheckFailed(
            f"no gradient flows from the result to {name}: something in between is detached, under no_grad, "
            "or differentiated without create_graph=True; .item() and .numpy() detach too"
        )
    what = f"the gradient with respect to {name}"
    expect_close(got[part], want[part], rtol=1e-4, atol=1e-6, dtype=False, what=what, hint=hint)


def expect_near(got: Any, want: torch.Tensor, *, hint: str = "", what: str = "the result") -> None:
    """Fail unless a value is the wanted one to five digits: a level that went through float32 is right."""
    expect_close(got, want, rtol=1e-5, atol=1e-5, dtype=False, what=what, hint=hint)


def expect_scalar(got: Any, what: str = "the loss") -> None:
    """Fail unless a value is a 0-d tensor."""
    expect_type(got, torch.Tensor, what)
    expect(got.ndim == 0, f"{what} has shape {tuple(got.shape)}; expected one number for the whole batch, a 0-d tensor")


def expect_loss(got: Any, want: torch.Tensor, hint: str = "", what: str = "the loss") -> None:
    """Fail unless a value is a 0-d tensor, and the wanted one to five digits."""
    expect_scalar(got, what)
    expect_near(got, want, hint=hint, what=what)


def expect_parameter_gradient(seen: Observation, name: str, want: torch.Tensor, hint: str = "") -> None:
    """Fail unless the gradient with respect to a parameter of the network is there and is the wanted one."""
    grads = replace(seen, grads=[seen.parameter_grads.get(name)])
    expect_gradient(grads, 0, want, f"the network's parameter {name}", hint=hint)


def two(value: Any, names: str) -> tuple[Any, Any]:
    """The two entries of a result, or a message that says what came instead. names: of the two, as "(mean, var)"."""
    expect_type(value, (tuple, list))
    expect(len(value) == 2, f"the result has {len(value)} entries; expected the pair {names}")
    return value[0], value[1]
