"""The discrete schedules against their definitions."""

import math

import numpy as np
import pytest
import torch

from noise2data.schedules import (
    betas_from_alpha_bar,
    check_schedule,
    cosine_alpha_bar,
    linear_alpha_bar,
    log_snr_of,
    rescale_zero_terminal_snr,
)

F64 = torch.float64


@pytest.mark.parametrize("T", [1, 2, 10, 1000])
def test_linear_schedule(T):
    abar = linear_alpha_bar(T)
    assert abar.shape == (T + 1,) and abar.dtype == F64 and abar[0] == 1
    want = np.cumprod(1 - np.linspace(1e-4, 0.02, T))
    np.testing.assert_allclose(abar[1:].numpy(), want, rtol=1e-12)
    np.testing.assert_allclose(betas_from_alpha_bar(abar).numpy(), np.linspace(1e-4, 0.02, T), rtol=1e-10)


@pytest.mark.parametrize("T", [1, 2, 10, 1000])
@pytest.mark.parametrize("max_beta", [0.999, 0.5, 1.0])
def test_cosine_schedule(T, max_beta):
    abar = cosine_alpha_bar(T, max_beta=max_beta)
    assert abar.shape == (T + 1,) and abar.dtype == F64 and abar[0] == 1
    f = [math.cos((k / T + 0.008) / 1.008 * math.pi / 2) ** 2 for k in range(T + 1)]
    want = np.cumprod([1 - min(1 - f[k] / f[k - 1], max_beta) for k in range(1, T + 1)])
    np.testing.assert_allclose(abar[1:].numpy(), want, rtol=1e-10, atol=1e-30)
    assert betas_from_alpha_bar(abar).max() <= max_beta + 1e-12


def test_rescaling_to_zero_terminal_snr():
    abar = linear_alpha_bar(1000)
    got = rescale_zero_terminal_snr(abar)
    assert got[0] == 1 and got[-1] == 0 and got.dtype == F64 and (got.diff() < 0).all()
    slope = got.sqrt().diff() / abar.sqrt().diff()  # affine in sqrt(abar): one slope throughout
    torch.testing.assert_close(slope, torch.full_like(slope, (1 / (1 - abar[-1].sqrt())).item()), rtol=1e-9, atol=0)
    assert torch.equal(abar, linear_alpha_bar(1000))
    assert rescale_zero_terminal_snr(abar.float()).dtype == torch.float32
    torch.testing.assert_close(rescale_zero_terminal_snr(got), got)


def test_log_snr_of_a_schedule():
    abar = torch.tensor([1.0, 0.8, 0.5, 0.0], dtype=F64)
    torch.testing.assert_close(log_snr_of(abar), torch.tensor([math.inf, math.log(4), 0.0, -math.inf], dtype=F64))
    assert log_snr_of(abar.float()).dtype == torch.float32


def test_betas_multiply_up_to_the_schedule_again():
    abar = rescale_zero_terminal_snr(linear_alpha_bar(50))
    betas = betas_from_alpha_bar(abar)
    assert betas.shape == (50,) and betas[-1] == 1
    torch.testing.assert_close(torch.cumprod(1 - betas, 0), abar[1:])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: linear_alpha_bar(0), "T is 0"),
        (lambda: cosine_alpha_bar(10.5), "T is 10.5"),
        (lambda: linear_alpha_bar(10, beta_start=0.0), "beta_start is 0.0"),
        (lambda: linear_alpha_bar(10, beta_end=1.0), "beta_end is 1.0"),
        (lambda: cosine_alpha_bar(10, s=-1), "s is -1"),
        (lambda: cosine_alpha_bar(10, max_beta=1.5), "max_beta is 1.5"),
        (lambda: log_snr_of(torch.tensor([0.9, 0.5])), "abar runs from 0.9 to 0.5"),
        (lambda: log_snr_of(torch.tensor([1, 0])), "abar has shape .* torch.int64"),
        (lambda: log_snr_of(torch.tensor([1.0, float("nan")])), "expected values in"),
        (lambda: betas_from_alpha_bar(torch.tensor([1.0, 0.0, 0.0])), "abar is 0 before its last entry"),
        (lambda: rescale_zero_terminal_snr(torch.ones(3)), r"abar\[-1\] is 1"),
    ],
)
def test_bad_schedules_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_good_schedule_comes_back_as_it_is():
    abar = torch.tensor([1.0, 0.5, 0.0])
    assert check_schedule(abar) is abar
    assert torch.equal(check_schedule([1.0, 0.5]), abar[:2])
