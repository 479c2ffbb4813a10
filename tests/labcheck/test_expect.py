"""What a check says when a value is wrong."""

import math

import numpy as np
import pytest
import torch

from labcheck import CheckFailed, expect, expect_close, expect_type
from labcheck.expect import describe
from labcheck.inside.wire import Handle, Opaque

INF, NAN = math.inf, math.nan


def message(got, want, **options) -> str:
    with pytest.raises(CheckFailed) as caught:
        expect_close(got, want, **options)
    return str(caught.value)


def floats(*values, dtype=torch.float32):
    return torch.tensor(values, dtype=dtype)


@pytest.mark.parametrize(
    ("got", "want"),
    [
        (floats(1, 2), floats(1, 2)),
        (floats(1 + 1e-6, 2), floats(1, 2)),
        (floats(1, 2, dtype=torch.float64), floats(1 + 1e-12, 2, dtype=torch.float64)),
        (floats(INF, -INF, NAN, 1), floats(INF, -INF, NAN, 1)),
        (torch.empty(0, 3), torch.empty(0, 3)),
        (torch.tensor([1, 2]), torch.tensor([1, 2])),
        (torch.tensor([True]), torch.tensor([True])),
        (floats(1).requires_grad_(), floats(1)),
        (torch.tensor([1 + 2j]), torch.tensor([1 + 2j])),
        (2, 2.0),
        (2.0, 2),
        (torch.tensor(2.0), 2),
        (torch.tensor([[2]]), 2.0),
        (INF, INF),
        (NAN, NAN),
        (torch.tensor(1e-12), torch.tensor(0.0)),
    ],
    ids=repr,
)
def test_right_values_pass(got, want):
    expect_close(got, want)


def test_the_first_difference_is_told():
    assert message([1.0], floats(1)) == "the result should be a torch tensor, not a list of length 1"
    assert message(floats(1), floats(1, 2)) == "the result has shape (1,); expected (2,)"
    assert message(floats(1, dtype=torch.float64), floats(1)) == "the result has dtype float64; expected float32"
    assert message(floats(1, 2.5), floats(1, 2)) == "the result is off by up to 0.5 (got 2.5, expected 2)"
    assert message(floats(1, NAN), floats(1, 2)) == "the result is nan at index [1]; expected 2"
    assert message(floats(1, 2), floats(1, INF)) == "the result is 2 at index [1]; expected inf"
    assert message(floats(-INF), floats(INF)) == "the result is -inf at index [0]; expected inf"


def test_scalars_are_told_as_scalars():
    assert message(2.5, 2) == "the result is off by up to 0.5 (got 2.5, expected 2)"
    assert message(NAN, 2.0) == "the result is nan; expected 2"
    assert message(floats(1, 2), 2) == "the result should be a scalar, but has shape (2,)"
    assert "not a bool" in message(True, 1)
    assert "not None (is a return missing?)" in message(None, 1.0)
    assert "not a str" in message("2", 2)


@pytest.mark.parametrize(
    ("got", "want"),
    [(floats(1, 2), floats(1)), (floats(2), floats(1)), (floats(NAN), floats(1)), (3.0, 2.0)],
    ids=repr,
)
def test_the_hint_follows_and_the_name_leads(got, want):
    text = message(got, want, hint="divide by two", what="the step")
    assert text.startswith("the step ")
    assert text.endswith(" — divide by two")


def test_a_complex_number_is_compared_with_both_parts():
    assert "off by up to 1" in message(torch.tensor([1 + 2j]), torch.tensor([1 + 1j]))
    assert "dtype" in message(torch.tensor(1 + 1j), 1.0)


def test_tolerances_follow_the_dtype():
    assert message(floats(1 + 1e-4), floats(1))
    assert message(floats(1 + 1e-6, dtype=torch.float64), floats(1, dtype=torch.float64))
    expect_close(torch.tensor([1.005], dtype=torch.float16), torch.tensor([1.0], dtype=torch.float16))
    expect_close(torch.tensor([1.02], dtype=torch.bfloat16), torch.tensor([1.0], dtype=torch.bfloat16))
    assert message(torch.tensor([3]), torch.tensor([2])) == "the result is off by up to 1 (got 3, expected 2)"


def test_the_absolute_tolerance_follows_the_largest_value():
    expect_close(floats(1e3, 1e-3), floats(1e3, 0))
    assert message(floats(1, 1e-3), floats(1, 0))


def test_given_tolerances_replace_the_usual_ones():
    expect_close(floats(1.4), floats(1), atol=0.5, rtol=0)
    assert message(floats(1.4), floats(1), atol=0.3, rtol=0)
    expect_close(floats(140), floats(100), atol=0, rtol=0.5)
    assert message(floats(1 + 1e-6), floats(1), atol=0, rtol=0)


def test_the_dtype_can_be_left_open():
    expect_close(floats(1, dtype=torch.float64), floats(1), dtype=False)
    expect_close(torch.tensor([1]), floats(1), dtype=False)


def test_the_largest_error_is_told_not_the_first():
    assert "off by up to 3 (got 5, expected 2)" in message(floats(1.1, 5), floats(1, 2))
    assert "index [0, 1]" in message(torch.tensor([[1, INF]]), torch.tensor([[1.0, 2.0]]))


def test_what_went_through_float32_is_told():
    got, want = floats(1 / 3, 2).double(), torch.tensor([1 / 3, 2], dtype=torch.float64)
    assert "(got 0.333333, expected 0.333333; so small an error comes from float32 somewhere" in message(got, want)
    assert "float32" not in message(want + 1e-4, want)


def test_infinite_values_do_not_hide_a_finite_difference():
    assert "off by up to 1" in message(floats(INF, 2), floats(INF, 1))


def test_expect_fails_with_its_message():
    expect(torch.tensor(True), "unused")
    with pytest.raises(CheckFailed, match=r"^exactly this$"):
        expect(torch.tensor(False), "exactly this")


@pytest.mark.parametrize(
    ("value", "kind"),
    [(1, int), (True, bool), (1.0, (int, float)), ([1], list), (floats(1), torch.Tensor), (Handle(0), Handle)],
    ids=repr,
)
def test_the_right_type_passes(value, kind):
    expect_type(value, kind)


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (True, int, "the result should be an int, not a bool"),
        (1, (list, tuple), "the result should be a list or a tuple, not an int"),
        (Opaque("set"), Handle, "the result should be a callable, not an object of type set"),
        (floats(1), float, "the result should be a float, not a tensor of shape (1,) and dtype float32"),
    ],
    ids=repr,
)
def test_a_wrong_type_is_told_in_words(value, kind, text):
    with pytest.raises(CheckFailed) as caught:
        expect_type(value, kind)
    assert str(caught.value) == text


def test_values_are_described_in_a_students_words():
    assert describe(np.zeros((2, 3))) == "a numpy array of shape (2, 3)"
    assert describe((1, 2)) == "a tuple of length 2"
    assert describe({"a": 1}) == "a dict"
    assert describe(Handle(0, "Linear")) == "an object of type Linear"


def test_ipython_shows_the_message_without_the_graders_stack():
    assert CheckFailed("one line")._render_traceback_() == ["one line"]


@pytest.mark.parametrize("got", [1 / 3, torch.tensor([1 / 3], dtype=torch.float64)])
def test_a_python_number_is_compared_in_double_precision(got):
    expect_close(got, 1 / 3)
    with pytest.raises(CheckFailed, match="is off by up to 1e-06"):
        expect_close(got, 1 / 3 + 1e-6)
