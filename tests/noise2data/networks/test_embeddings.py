"""Embeddings against their formulas, one number at a time."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from noise2data.networks.embeddings import sincos_2d, timestep_embedding


def test_the_timestep_embedding_is_cosines_then_sines_of_the_ladder():
    t, half, max_period = [0.0, 0.25, 7.0, 999.0], 3, 500.0
    want = [[wave(x * max_period ** (-i / half)) for wave in (math.cos, math.sin) for i in range(half)] for x in t]
    got = timestep_embedding(torch.tensor(t), 2 * half, max_period)
    torch.testing.assert_close(got, torch.tensor(want), rtol=0, atol=6e-8)


@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(0, 5),
    half=st.integers(1, 40),
    dtype=st.sampled_from([torch.int64, torch.int32, torch.bfloat16, torch.float32, torch.float64]),
)
def test_any_batch_width_and_dtype_give_float32_on_the_unit_circle(batch, half, dtype):
    t = torch.arange(batch).to(dtype)
    embedding = timestep_embedding(t, 2 * half)
    assert embedding.shape == (batch, 2 * half) and embedding.dtype == torch.float32
    radius = embedding[:, :half] ** 2 + embedding[:, half:] ** 2
    torch.testing.assert_close(radius, torch.ones(batch, half), rtol=0, atol=3e-7)


def test_whole_numbers_may_be_integers_or_floats():
    k = torch.arange(0, 1001, 7)
    assert torch.equal(timestep_embedding(k, 16), timestep_embedding(k.double(), 16))


def test_large_steps_keep_their_digits():
    """In float32 the angle alone would be wrong by 0.004 here."""
    t = torch.tensor([123456.789], dtype=torch.float64)
    want = torch.tensor([[math.cos(t.item()), math.sin(t.item())]])
    torch.testing.assert_close(timestep_embedding(t, 2), want, rtol=0, atol=6e-8)


def test_times_in_the_unit_interval_are_hardly_told_apart_unless_scaled():
    """The erratum: all but a few waves stand still. Scaled by 1000, neighbours one step apart differ by much more."""
    t = torch.tensor([0.500, 0.501], dtype=torch.float64)
    near, far = timestep_embedding(t, 64), timestep_embedding(1000 * t, 64)
    assert (near[0] - near[1]).norm() < 0.003
    assert (far[0] - far[1]).norm() > 1.0


def test_the_timestep_embedding_is_differentiable_and_changes_nothing():
    t = torch.tensor([0.3, 2.0], dtype=torch.float64, requires_grad=True)
    kept = t.detach().clone()
    (grad,) = torch.autograd.grad(timestep_embedding(t, 2).sum(), t)
    torch.testing.assert_close(grad, kept.cos() - kept.sin(), rtol=1e-6, atol=1e-6)
    assert torch.equal(t, kept)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.tensor(3.0), 4), r"t has shape \(\); expected one number for each sample"),
        ((torch.zeros(2, 1), 4), r"t has shape \(2, 1\)"),
        ((torch.zeros(2), 5), "dim is 5; expected an even number"),
        ((torch.zeros(2), 0), "dim is 0"),
        ((torch.zeros(2), 4, 0.0), "max_period is 0.0; expected a number > 0"),
    ],
)
def test_bad_arguments_of_the_timestep_embedding_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        timestep_embedding(*arguments)


def test_the_grid_code_is_sines_then_cosines_of_the_row_and_then_of_the_column():
    h, w, quarter = 3, 5, 2
    code = sincos_2d(h, w, 4 * quarter)
    assert code.dtype == torch.float32
    want = [
        [wave(index * 10000 ** (-i / quarter)) for index in (r, c) for wave in (math.sin, math.cos) for i in (0, 1)]
        for r in range(h)
        for c in range(w)
    ]
    torch.testing.assert_close(code, torch.tensor(want), rtol=0, atol=6e-8)


@settings(max_examples=30, deadline=None)
@given(h=st.integers(1, 6), w=st.integers(1, 6), quarter=st.integers(1, 8))
def test_the_product_of_two_codes_depends_on_their_distance_alone(h, w, quarter):
    code = sincos_2d(h, w, 4 * quarter).double()
    assert code.shape == (h * w, 4 * quarter)
    rows, columns = torch.arange(h * w) // w, torch.arange(h * w) % w
    frequencies = 10000.0 ** (-torch.arange(quarter, dtype=torch.float64) / quarter)
    distances = torch.stack([rows[:, None] - rows, columns[:, None] - columns], 2)
    want = (distances[..., None] * frequencies).cos().sum((2, 3))
    torch.testing.assert_close(code @ code.T, want, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 2, 4), "h, w are 0, 2; expected at least 1"),
        ((2, -1, 4), "h, w are 2, -1"),
        ((2, 2, 6), "dim is 6; expected a number >= 4 that 4 divides"),
        ((2, 2, 0), "dim is 0"),
    ],
)
def test_bad_arguments_of_the_grid_code_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        sincos_2d(*arguments)
