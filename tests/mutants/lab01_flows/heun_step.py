"""Answers to `heun_step`."""

import torch


def wrong_euler(f, x, t, dt):
    """Calls the field twice, and uses the first slope only."""
    k = f(x, t)
    f(x + dt * k, t + dt)
    return x + dt * k


def wrong_midpoint(f, x, t, dt):
    """The midpoint method: also of second order."""
    return x + dt * f(x + dt / 2 * f(x, t), t + dt / 2)


def wrong_ralston(f, x, t, dt):
    """Another member of the second-order family."""
    k = f(x, t)
    return x + dt * (k / 4 + 3 / 4 * f(x + 2 / 3 * dt * k, t + 2 / 3 * dt))


def wrong_sum_of_slopes(f, x, t, dt):
    """Forgets the half."""
    k = f(x, t)
    return x + dt * (k + f(x + dt * k, t + dt))


def wrong_second_slope_at_the_start_time(f, x, t, dt):
    """Moves the state but not the clock."""
    k = f(x, t)
    return x + dt / 2 * (k + f(x + dt * k, t))


def wrong_second_slope_at_x(f, x, t, dt):
    """Moves the clock but not the state."""
    return x + dt / 2 * (f(x, t) + f(x, t + dt))


def wrong_predictor_without_dt(f, x, t, dt):
    """The predictor is a step of size 1."""
    k = f(x, t)
    return x + dt / 2 * (k + f(x + k, t + dt))


def wrong_three_calls(f, x, t, dt):
    """Evaluates the first slope twice."""
    return x + dt / 2 * (f(x, t) + f(x + dt * f(x, t), t + dt))


def wrong_from_the_predictor(f, x, t, dt):
    """Starts the corrected step from the predictor."""
    k = f(x, t)
    y = x + dt * k
    return y + dt / 2 * (k + f(y, t + dt))


def wrong_in_place(f, x, t, dt):
    """Overwrites the caller's x."""
    k = f(x, t)
    y = x + dt * k
    return x.add_(dt / 2 * (k + f(y, t + dt)))


def wrong_detached_predictor(f, x, t, dt):
    """No gradient through the second slope's argument."""
    k = f(x, t)
    return x + dt / 2 * (k + f((x + dt * k).detach(), t + dt))


def wrong_absolute_dt(f, x, t, dt):
    """Cannot step back in time."""
    dt = abs(dt)
    k = f(x, t)
    return x + dt / 2 * (k + f(x + dt * k, t + dt))


def right_mean_of_two_euler_steps(f, x, t, dt):
    """The average of x and of two Euler steps in a row (a strong-stability-preserving form)."""
    predictor = x + dt * f(x, t)
    return (x + predictor + dt * f(predictor, t + dt)) / 2


def right_corrected_euler(f, x, t, dt):
    """An Euler step plus half of the change of slope."""
    start = f(x, t)
    euler = torch.add(x, start, alpha=float(dt))
    return euler + 0.5 * dt * (f(euler, t + dt) - start)


def right_as_a_tableau(f, x, t, dt):
    """A general explicit Runge-Kutta step with Heun's tableau."""
    a, b, c = [[], [1.0]], [0.5, 0.5], [0.0, 1.0]
    slopes = []
    for row, node in zip(a, c, strict=True):
        y = x + dt * sum(w * k for w, k in zip(row, slopes, strict=True)) if row else x
        slopes.append(f(y, t + node * dt))
    return x + dt * sum(w * k for w, k in zip(b, slopes, strict=True))
