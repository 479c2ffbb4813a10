"""Answers to `euler_step`."""

import torch


def wrong_against_the_field(f, x, t, dt):
    """Subtracts: time run the wrong way."""
    return x - dt * f(x, t)


def wrong_absolute_dt(f, x, t, dt):
    """Cannot step back in time."""
    return x + abs(dt) * f(x, t)


def wrong_without_dt(f, x, t, dt):
    """Forgets the step size."""
    return x + f(x, t)


def wrong_increment_only(f, x, t, dt):
    """Returns the increment, not the new state."""
    return dt * f(x, t)


def wrong_end_time(f, x, t, dt):
    """Looks at the field at the end of the step."""
    return x + dt * f(x, t + dt)


def wrong_square_root_of_dt(f, x, t, dt):
    """Scales as one would scale noise."""
    return x + abs(dt) ** 0.5 * (1 if dt > 0 else -1) * f(x, t)


def wrong_in_place(f, x, t, dt):
    """Changes the caller's x."""
    x += dt * f(x, t)
    return x


def wrong_detached(f, x, t, dt):
    """Cuts the graph."""
    with torch.no_grad():
        return x + dt * f(x, t)


def wrong_two_calls(f, x, t, dt):
    """Calls the field twice."""
    return x + dt / 2 * f(x, t) + dt / 2 * f(x, t)


def wrong_backward_euler(f, x, t, dt):
    """Two fixed-point iterations of the implicit method."""
    return x + dt * f(x + dt * f(x, t), t + dt)


def wrong_mean_time(f, x, t, dt):
    """Gives one time to the whole batch."""
    return x + dt * f(x, torch.as_tensor(t).double().mean())


def wrong_double(f, x, t, dt):
    """Always returns float64."""
    return x.double() + dt * f(x, t).double()


def right_as_a_weighted_sum(f, x, t, dt):
    """torch.add with a factor."""
    return torch.add(x, f(x, t), alpha=float(dt))


def right_as_interpolation(f, x, t, dt):
    """The fraction dt of the way to x + f(x, t)."""
    return torch.lerp(x, x + f(x, t), float(dt))
