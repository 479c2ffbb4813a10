"""Answers to progressive_target, wrong and right."""

import torch


def _times(x, *times):
    """Each time as (B,) in x's dtype, and as a column."""
    rows = [torch.as_tensor(t, dtype=x.dtype, device=x.device).expand(len(x)) for t in times]
    return rows, [row.reshape(-1, *[1] * (x.ndim - 1)) for row in rows]


def _end(teacher, x, t, s, u):
    """x_u, and u - t as a column."""
    (t, s, _), (tc, sc, uc) = _times(x, t, s, u)
    middle = x + (sc - tc) * teacher(x, t)
    return middle + (uc - sc) * teacher(middle, s), uc - tc


@torch.no_grad()
def wrong_opposite_velocity(teacher, x, t, s, u):
    """(x - x_u)/(u - t): the student runs the other way."""
    end, way = _end(teacher, x, t, s, u)
    return (x - end) / way


@torch.no_grad()
def wrong_divided_by_the_length(teacher, x, t, s, u):
    """(x_u - x)/(t - u)."""
    end, way = _end(teacher, x, t, s, u)
    return (end - x) / way.abs()


@torch.no_grad()
def wrong_steps_away_from_the_data(teacher, x, t, s, u):
    """The teacher's steps go up in time, as in the other clock."""
    (t, s, _), (tc, sc, uc) = _times(x, t, s, u)
    middle = x + (tc - sc) * teacher(x, t)
    return (middle + (sc - uc) * teacher(middle, s) - x) / (uc - tc)


@torch.no_grad()
def wrong_clock_of_the_teacher(teacher, x, t, s, u):
    """The teacher is asked at 1 - t and 1 - s."""
    return _end(lambda x, t: teacher(x, 1 - t), x, t, s, u)[0].sub(x) / _times(x, u - t)[1][0]


@torch.no_grad()
def wrong_end_point(teacher, x, t, s, u):
    """x_u itself."""
    return _end(teacher, x, t, s, u)[0]


@torch.no_grad()
def wrong_displacement(teacher, x, t, s, u):
    """x_u - x."""
    return _end(teacher, x, t, s, u)[0] - x


@torch.no_grad()
def wrong_plain_mean(teacher, x, t, s, u):
    """The mean of both velocities, right for steps of one length."""
    (t, s, _), (tc, sc, _) = _times(x, t, s, u)
    first = teacher(x, t)
    return (first + teacher(x + (sc - tc) * first, s)) / 2


@torch.no_grad()
def wrong_second_look_at_the_old_place(teacher, x, t, s, u):
    """teacher(x, s) for teacher(x_s, s)."""
    (t, s, _), (tc, sc, uc) = _times(x, t, s, u)
    return ((sc - tc) * teacher(x, t) + (uc - sc) * teacher(x, s)) / (uc - tc)


@torch.no_grad()
def wrong_second_look_at_the_old_time(teacher, x, t, s, u):
    """teacher(x_s, t) for teacher(x_s, s)."""
    (t, s, _), (tc, sc, uc) = _times(x, t, s, u)
    first = teacher(x, t)
    return ((sc - tc) * first + (uc - sc) * teacher(x + (sc - tc) * first, t)) / (uc - tc)


@torch.no_grad()
def wrong_asked_at_the_ends(teacher, x, t, s, u):
    """Each velocity is asked at the time at which its step ends."""
    (_, s, u), (tc, sc, uc) = _times(x, t, s, u)
    middle = x + (sc - tc) * teacher(x, s)
    return (middle + (uc - sc) * teacher(middle, u) - x) / (uc - tc)


@torch.no_grad()
def wrong_single_step(teacher, x, t, s, u):
    """The teacher's own velocity at t."""
    return teacher(x, _times(x, t)[0][0])


@torch.no_grad()
def wrong_midpoint(teacher, x, t, s, u):
    """The velocity at s, after a step there: the midpoint rule."""
    (t, s, _), (tc, sc, _) = _times(x, t, s, u)
    return teacher(x + (sc - tc) * teacher(x, t), s)


@torch.no_grad()
def wrong_divided_by_t(teacher, x, t, s, u):
    """(x_u - x)/(-t), right for u = 0 alone."""
    return (_end(teacher, x, t, s, u)[0] - x) / -_times(x, t)[1][0]


def wrong_with_a_graph(teacher, x, t, s, u):
    """The teacher's graph comes along."""
    end, way = _end(teacher, x, t, s, u)
    return (end - x) / way


@torch.no_grad()
def wrong_one_more_call(teacher, x, t, s, u):
    """A call at u whose answer is thrown away."""
    end, way = _end(teacher, x, t, s, u)
    teacher(end, _times(x, u)[0][0])
    return (end - x) / way


@torch.no_grad()
def wrong_numbers_for_the_teacher(teacher, x, t, s, u):
    """The teacher gets the times as they came."""
    _, (tc, sc, uc) = _times(x, t, s, u)
    middle = x + (sc - tc) * teacher(x, t)
    return (middle + (uc - sc) * teacher(middle, s) - x) / (uc - tc)


@torch.no_grad()
def wrong_float64_out(teacher, x, t, s, u):
    """Computed in float64, and left there."""
    end, way = _end(teacher, x.double(), t, s, u)
    return (end - x) / way


@torch.no_grad()
def wrong_float32_out(teacher, x, t, s, u):
    """The result is cast to float32."""
    end, way = _end(teacher, x, t, s, u)
    return ((end - x) / way).float()


@torch.no_grad()
def wrong_teacher_of_the_other_clock(teacher, x, t, s, u):
    """The teacher is turned round, as one whose clock runs from noise to data."""
    end, way = _end(lambda x, t: -teacher(x, 1 - t), x, t, s, u)
    return (end - x) / way


@torch.no_grad()
def wrong_points_only(teacher, x, t, s, u):
    """Columns of times beside images."""
    (t, s, u), _ = _times(x, t, s, u)
    tc, sc, uc = (row[:, None] for row in (t, s, u))
    middle = x + (sc - tc) * teacher(x, t)
    return (middle + (uc - sc) * teacher(middle, s) - x) / (uc - tc)


def wrong_in_place(teacher, x, t, s, u):
    """Walks on the caller's x."""
    with torch.no_grad():
        (t, s, _), (tc, sc, uc) = _times(x, t, s, u)
        start = x.clone()
        x.data += (sc - tc) * teacher(x, t)
        x.data += (uc - sc) * teacher(x, s)
        return (x - start) / (uc - tc)


def right_detached(teacher, x, t, s, u):
    """Detached at the end, as a mean of both velocities with the steps' lengths for weights."""
    x = x.detach()
    (t, s, _), (tc, sc, uc) = _times(x, t, s, u)
    share = (tc - sc) / (tc - uc)
    first = teacher(x, t)
    second = teacher(x - (tc - sc) * first, s)
    return (share * first + (1 - share) * second).detach()


def right_loop(teacher, x, t, s, u):
    """A loop over both steps."""
    (t, s, u), columns = _times(x, t, s, u)
    state = x
    with torch.no_grad():
        for now, here, there in ((t, columns[0], columns[1]), (s, columns[1], columns[2])):
            state = state + (there - here) * teacher(state, now)
        return (state - x) / (columns[2] - columns[0])


def right_from_the_back(teacher, x, t, s, u):
    """By way of torch.lerp, with new tensors for the times."""
    with torch.no_grad():
        time = [x.new_zeros(len(x)) + torch.as_tensor(value).to(x) for value in (t, s, u)]
        t, s, u = (value.reshape(-1, *[1] * (x.ndim - 1)) for value in time)
        first = teacher(x, time[0])
        second = teacher(torch.add(x, (s - t) * first), time[1])
        return torch.lerp(second, first, ((t - s) / (t - u)).expand(x.shape))
