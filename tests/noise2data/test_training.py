"""The loop against one written out by hand, runs that are killed against runs that are not, averages against sums."""

import copy
import math
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from noise2data import training
from noise2data.training import constant_decay, ema_update, fit, held_out_loss, learning_rate, power_decay, split


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


class Net(nn.Module):
    """A network of all that can be averaged: trained and frozen weights, floating and whole buffers."""

    def __init__(self, seed=0, dtype=torch.float64):
        super().__init__()
        self.lift, self.lower = nn.Linear(2, 5, dtype=dtype), nn.Linear(5, 2, dtype=dtype)
        self.lift.bias.requires_grad = False
        self.register_buffer("mean", torch.zeros(2, dtype=dtype))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        with torch.no_grad():
            for tensor in (*self.parameters(), self.mean):
                tensor.normal_(generator=generator(seed))

    def forward(self, x):
        self.calls += 1
        return self.mean + self.lower(torch.tanh(self.lift(x)))


def denoising(model, x0, generator):
    """A loss that draws, as all of the course's do."""
    t = torch.rand(len(x0), 1, generator=generator, dtype=x0.dtype)
    eps = torch.randn(x0.shape, generator=generator, dtype=x0.dtype)
    return (model((1 - t) * x0 + t * eps) - x0).square().mean()


def points(n=50, dtype=torch.float64):
    return torch.randn(n, 2, generator=generator(9), dtype=dtype)


def quick(model=None, loss=denoising, data=None, **kwargs):
    kwargs = {"steps": 10, "batch_size": 8, "generator": generator(), "progress": False, **kwargs}
    return fit(Net() if model is None else model, loss, points() if data is None else data, **kwargs)


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


# The average of the weights -----------------------------------------------------------------------------------


@given(decay=st.floats(0, 1))
@settings(deadline=None, max_examples=20)
def test_ema_update_is_the_weighted_mean_of_parameters_and_floating_buffers(decay):
    average, model = Net(1), Net(2)
    average.eval()
    average.lower.weight.requires_grad = False
    model.calls += 7
    old, new = copy.deepcopy(average), copy.deepcopy(model)
    assert ema_update(average, model, decay) is None
    for (name, x), a, b in zip(
        average.state_dict().items(), old.state_dict().values(), new.state_dict().values(), strict=True
    ):
        expected = b if name == "calls" else decay * a + (1 - decay) * b
        torch.testing.assert_close(x, expected, rtol=1e-13, atol=1e-13)
    assert equal(model, new) and all(module.training for module in model.modules())
    assert not any(module.training for module in average.modules())
    for one, other in zip(average.parameters(), old.parameters(), strict=True):
        assert one.requires_grad == other.requires_grad and one.is_leaf and one.grad is None


def test_ema_update_copies_exactly_at_decay_0_and_keeps_exactly_at_1():
    average, model = Net(1), Net(2)
    before = copy.deepcopy(average)
    ema_update(average, model, 1.0)
    assert equal(average, before)
    ema_update(average, model, 0.0)
    assert equal(average, model)


def test_ema_update_keeps_an_average_in_its_own_dtype():
    average, model = Net(1), Net(2, torch.float32)
    ema_update(average, model, 0.5)
    assert average.lift.weight.dtype == torch.float64


def test_ema_update_refuses_other_models_and_other_decays():
    with pytest.raises(
        ValueError, match=r"ema_model is of another model: weight has shape \(3, 2\); expected \(3, 4\)"
    ):
        ema_update(nn.Linear(2, 3), nn.Linear(4, 3), 0.9)
    with pytest.raises(ValueError, match=r"ema_model is of another model: bias has shape nothing; expected \(3,\)"):
        ema_update(nn.Linear(2, 3, bias=False), nn.Linear(2, 3), 0.9)
    for decay in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=f"decay is {decay}; expected a number in"):
            ema_update(Net(), Net(), decay)


def weights_in_average(decay, steps):
    """How much each of the steps counts in the average in the end; entry 0 is what training started from."""
    weights = torch.zeros(steps + 1, dtype=torch.float64)
    weights[0] = 1.0
    for k in range(1, steps + 1):
        weights *= decay(k)
        weights[k] += 1 - decay(k)
    return weights


@given(decay=st.floats(0, 0.9999), steps=st.integers(1, 50))
@settings(deadline=None, max_examples=50)
def test_constant_decay_counts_each_step_decay_times_the_next(decay, steps):
    expected = decay ** torch.arange(steps - 1, -1, -1, dtype=torch.float64)
    weights = weights_in_average(constant_decay(decay), steps)
    assert weights[0] == 0
    torch.testing.assert_close(weights[1:], expected / expected.sum(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("width", [0.01, 0.05, 0.1, 0.2, 0.28])
def test_power_decay_is_as_wide_as_it_says_at_any_length(width):
    for steps in (2000, 4000):
        weights, at = weights_in_average(power_decay(width), steps), torch.arange(steps + 1) / steps
        mean = (weights * at).sum()
        std = (weights * (at - mean).square()).sum().sqrt()
        assert weights[0] == 0 and weights.sum() == pytest.approx(1)
        assert std == pytest.approx(width, rel=0.02)
        assert weights.argmax() == steps


def test_decays_out_of_range_are_refused():
    for decay in (-0.1, 1.0):
        with pytest.raises(ValueError, match=f"decay is {decay}; expected a number in"):
            constant_decay(decay)
    for width in (0, 0.3):
        with pytest.raises(ValueError, match=f"width is {width}; expected a number in"):
            power_decay(width)


# The data -----------------------------------------------------------------------------------------------------


@given(n=st.integers(2, 40), fraction=st.floats(0.01, 0.99))
@settings(deadline=None, max_examples=50)
def test_split_parts_the_rows_and_keeps_them_together(n, fraction):
    images, labels = torch.arange(n * 6.0).reshape(n, 2, 3), torch.arange(n)
    aside = round(fraction * n)
    if aside in (0, n):
        with pytest.raises(ValueError, match=f"fraction is {fraction}; expected a number in"):
            split((images, labels), fraction, generator())
        return
    state = torch.get_rng_state()
    (rest, rest_labels), (part, part_labels) = split((images, labels), fraction, generator())
    assert len(part) == aside and torch.equal(torch.cat([rest_labels, part_labels]).sort().values, labels)
    assert torch.equal(rest, images[rest_labels]) and torch.equal(part, images[part_labels])
    assert torch.equal(split(labels, fraction, generator())[1], part_labels)
    assert torch.equal(torch.get_rng_state(), state)


def test_split_draws_from_torchs_generator_if_none_is_given():
    torch.manual_seed(0)
    one = split(torch.arange(30), 0.5)
    torch.manual_seed(0)
    assert torch.equal(one[0], split(torch.arange(30), 0.5)[0])


def test_data_whose_tensors_do_not_belong_together_are_refused():
    for data in ((torch.zeros(3), torch.zeros(4)), torch.zeros(0, 2), ()):
        for use in (lambda data: split(data, 0.5), lambda data: quick(data=data)):
            with pytest.raises(ValueError, match="data has tensors of .* rows; expected the same number, at least 1"):
                use(data)


def test_all_rows_are_seen_before_any_is_seen_again():
    seen = []

    def loss(model, batch, generator):
        x, y = batch
        seen.extend(y.tolist())
        return (model(x) - x).square().mean()

    quick(loss=loss, data=(points(12), torch.arange(12)), steps=15, batch_size=8)
    epochs = [seen[i : i + 12] for i in range(0, 120, 12)]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs) and len({tuple(e) for e in epochs}) == 10


def test_a_batch_may_be_larger_than_the_data():
    sizes = []
    quick(loss=lambda m, x, g: (sizes.append(len(x)), m(x).square().mean())[1], data=points(3), steps=2, batch_size=8)
    assert sizes == [8, 8]


def test_data_may_be_drawn_instead():
    drawn = []

    def data(n, generator):
        drawn.append(torch.randn(n, 2, generator=generator, dtype=torch.float64))
        return drawn[-1], torch.zeros(n)

    quick(loss=lambda model, batch, generator: model(batch[0]).square().mean(), data=data, steps=3)
    assert [len(x) for x in drawn] == [8, 8, 8] and not torch.equal(drawn[0], drawn[1])


# The loop -----------------------------------------------------------------------------------------------------


def test_fit_is_the_loop_that_one_would_write():
    """Bit by bit: AdamW, warm-up and cosine, clipping, the average."""
    model, average = Net(), Net()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1.0, weight_decay=0.1, fused=True)
    draws, order, losses = generator(5), torch.empty(0, dtype=torch.int64), []
    for k in range(20):
        while len(order) < 8:
            order = torch.cat([order, torch.randperm(50, generator=draws)])
        value, order = denoising(model, points()[order[:8]], draws), order[8:]
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(parameters, 0.5)
        optimizer.param_groups[0]["lr"] = 0.02 * min(1, (k + 1) / 5) * (1 + math.cos(math.pi * (k / 20))) / 2
        optimizer.step()
        losses.append(value.item())
        ema_update(average, model, 0.8 * (1 - 0.8**k) / (1 - 0.8 ** (k + 1)))
    trained = Net()
    options = {"lr": 0.02, "warmup": 4, "cosine": True, "weight_decay": 0.1, "clip": 0.5, "ema_decay": 0.8}
    result = quick(trained, steps=20, generator=generator(5), **options)
    assert equal(trained, model) and equal(result.ema, average)
    assert list(result.losses) == losses and result.steps == 20
    assert trained.training and not result.ema.training and result.held_out is None
    assert trained.lift.weight.requires_grad and result.ema.lift.weight.requires_grad


def test_fit_learns():
    """The best constant is the mean; the average of a noisy path to it is nearer than the path's end is."""
    model = nn.ParameterList([torch.zeros(2, dtype=torch.float64)])
    data = points() + 1

    def loss(model, x, generator):
        return (x - model[0]).square().mean()

    result = fit(model, loss, data, steps=400, batch_size=10, lr=0.03, warmup=10, generator=generator(), progress=False)
    error = (result.ema[0] - data.mean(0)).norm().item()
    assert error < 0.05 and error < (model[0] - data.mean(0)).norm().item()
    assert sum(result.losses[-50:]) < sum(result.losses[:50])


def test_fit_without_an_average_or_clipping():
    model = Net()
    assert equal(quick(model, ema_decay=0.0, clip=None).ema, model)
    decays = []
    quick(ema_decay=lambda k: decays.append(k) or 0.5, steps=3)
    assert decays == [1, 2, 3]


def test_a_loss_that_asks_for_the_average_gets_the_one_before_its_step():
    model, seen = Net(), []

    def loss(model, x, generator, ema):
        seen.append(copy.deepcopy(ema))
        return denoising(model, x, generator)

    average = copy.deepcopy(model)
    result = fit(model, loss, points(), steps=3, batch_size=8, ema_decay=lambda k: 0.5, with_ema=True, progress=False)
    assert len(seen) == 3 and equal(seen[0], average) and not torch.equal(seen[1].lift.weight, seen[2].lift.weight)
    assert not torch.equal(result.ema.lift.weight, seen[2].lift.weight)
    checked = fit(model, loss, points(), steps=1, batch_size=8, with_ema=True, validation=points(), progress=False)
    assert torch.equal(seen[-1].lift.weight, checked.ema.lift.weight) and math.isfinite(checked.held_out)


def test_the_global_generator_drives_what_is_given_none():
    model, results, state = Net(), [], torch.get_rng_state()
    quick(model)
    assert torch.equal(torch.get_rng_state(), state)
    for _ in range(2):
        torch.manual_seed(3)
        results.append(quick(generator=None).losses)
    assert results[0] == results[1] and not torch.equal(torch.get_rng_state(), state)
    torch.set_rng_state(state)


@pytest.mark.parametrize("cosine", [False, True])
def test_learning_rate_rises_then_stays_or_falls(cosine):
    rates = [learning_rate(0.1, step, 10, step / 100, cosine) for step in range(101)]
    assert rates[0] == pytest.approx(0.1 / 11, rel=0.01) and rates[:11] == sorted(rates[:11])
    if cosine:
        assert (
            rates[50] == pytest.approx(0.05)
            and rates[100] == pytest.approx(0)
            and rates[11:] == sorted(rates[11:])[::-1]
        )
    else:
        assert set(rates[10:]) == {0.1}
    assert learning_rate(0.1, 0, 0, 0.0, cosine) == 0.1


def test_a_budget_in_seconds_ends_the_training(monkeypatch):
    """With a clock that ticks a second each time it is read."""
    ticks = iter(range(10**6))
    monkeypatch.setattr(training.time, "perf_counter", lambda: float(next(ticks)))
    result = quick(steps=None, seconds=30)
    assert 5 <= result.steps <= 30 and 30 <= result.seconds <= 33 and len(result.losses) == result.steps
    assert quick(steps=4, seconds=1000).steps == 4
    assert quick(steps=1000, seconds=20).steps < 20


def test_bfloat16_is_used_inside_and_weights_stay():
    seen = []

    def loss(model, x, generator):
        out = model(x)
        seen.append(out.dtype)
        return out.float().square().mean()

    model = nn.Linear(2, 2)
    quick(model, loss, points(dtype=torch.float32), bf16=True, steps=1)
    quick(model, loss, points(dtype=torch.float32), steps=1)
    assert seen == [torch.bfloat16, torch.float32] and model.weight.dtype == torch.float32


def test_held_out_loss_is_the_mean_over_rows_of_the_average():
    def square(model, x, generator):
        return (model(x) - x).square().mean()

    data = points(11)
    exact = square(Net(), data, None).item()
    assert held_out_loss(Net(), square, data, batch_size=4, repeats=2) == pytest.approx(exact, rel=1e-12)
    result = quick(loss=square, validation=data)
    assert result.held_out == pytest.approx(square(result.ema, data, None).item(), rel=1e-12)


def test_held_out_loss_meets_models_with_the_same_draws():
    assert held_out_loss(Net(), denoising, points()) == held_out_loss(Net(), denoising, points())
    other = held_out_loss(Net(), denoising, points(), generator=generator(1))
    assert held_out_loss(Net(), denoising, points()) != other


def test_the_bar_shows_the_loss(capsys):
    quick(progress=True)
    shown = capsys.readouterr().err
    assert "10/10" in shown and "loss=" in shown and "step/s" in shown
    quick(progress=True, steps=None, seconds=0.01)
    assert "1/1" in capsys.readouterr().err
    quick()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("argument", "value", "expected"),
    [
        ("steps", 0, "a whole number >= 1"),
        ("steps", 2.5, "a whole number >= 1"),
        ("batch_size", 0, "a whole number >= 1"),
        ("warmup", -1, "a whole number >= 0"),
        ("every", 0, "a whole number >= 1"),
        ("seconds", 0, "a number > 0"),
        ("seconds", math.inf, "a number > 0"),
        ("lr", -1e-3, "a number > 0"),
        ("clip", 0, "a number > 0"),
    ],
)
def test_arguments_out_of_range_are_refused(argument, value, expected):
    with pytest.raises(ValueError, match=f"{argument} is {value!r}; expected {expected}"):
        quick(**{argument: value})


def test_what_cannot_be_trained_is_refused():
    with pytest.raises(ValueError, match="steps and seconds are both None; expected a budget"):
        quick(steps=None)
    with pytest.raises(ValueError, match="model has no parameter that requires a gradient"):
        quick(Net().requires_grad_(False))
    with pytest.raises(ValueError, match=r"loss returned torch.Size\(\[8, 2\]\); expected a 0-d tensor"):
        quick(loss=lambda model, x, generator: model(x))
    with pytest.raises(ValueError, match="loss returned 0.5; expected a 0-d tensor"):
        quick(loss=lambda model, x, generator: 0.5)


# Checkpoints --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [5, 7, 13])
def test_a_resumed_run_equals_an_undisturbed_one(first, tmp_path):
    whole, resumed = Net(), Net()
    expected = quick(whole, steps=20)
    checkpoint = tmp_path / "new folder" / "run.pt"
    stopped = quick(resumed, steps=first, checkpoint=checkpoint, every=3)
    assert stopped.steps == first
    fresh = Net(5)
    result = quick(fresh, steps=20, checkpoint=checkpoint, every=3, generator=generator(99))
    assert equal(fresh, whole) and equal(result.ema, expected.ema) and result.losses == expected.losses
    assert result.steps == 20 and result.seconds > stopped.seconds
    again = quick(Net(6), steps=20, checkpoint=str(checkpoint))
    assert equal(again.ema, expected.ema) and again.losses == expected.losses
    assert [path.name for path in checkpoint.parent.iterdir()] == ["run.pt"]


KILLED = """
import os, random, signal, sys, time
import torch
from torch import nn
from noise2data.training import fit

torch.set_num_threads(1)
path, chance = sys.argv[1], random.Random(int(sys.argv[2]))

def loss(model, x0, generator):
    t = torch.rand(len(x0), 1, generator=generator)
    eps = torch.randn(x0.shape, generator=generator)
    return (model((1 - t) * x0 + t * eps) - x0).square().mean()

def train(checkpoint):
    torch.manual_seed(0)
    model, data = nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.1), nn.SiLU(), nn.Linear(8, 2)), torch.randn(50, 2)
    result = fit(model, loss, data, steps=300, batch_size=16, checkpoint=checkpoint, every=7, progress=False)
    return [*model.state_dict().values(), *result.ema.state_dict().values(), torch.tensor(result.losses)]

def changed(before):
    return os.path.exists(path) and os.stat(path).st_mtime_ns != before

kills, undisturbed = 0, train(None)
while True:
    before = os.stat(path).st_mtime_ns if kills else None
    child = os.fork()
    if child == 0:
        torch.save(train(path), path + ".result")
        os._exit(0)
    if kills < 3:
        while not changed(before):
            time.sleep(0.0005)
        time.sleep(chance.uniform(0, 0.02))
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    if os.WIFEXITED(status):
        break
    kills += 1
    state = torch.load(path, weights_only=True)
    assert state["step"] % 7 == 0 and len(state["losses"]) == state["step"] < 300, state["step"]
assert status == 0, status
pairs = zip(torch.load(path + ".result", weights_only=True), undisturbed, strict=True)
print(kills, all(torch.equal(a, b) for a, b in pairs), "accelerate" in sys.modules)
"""


def test_a_run_that_is_killed_again_and_again_ends_with_the_weights_of_an_undisturbed_one(tmp_path):
    """SIGKILL at random moments, while it computes or writes; dropout and shuffling included.

    On the way: one process does not import accelerate.
    """
    command = [sys.executable, "-c", KILLED, str(tmp_path / "run.pt"), "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["3", "True", "False"]


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    checkpoint = tmp_path / "run.pt"
    quick(nn.Linear(2, 2, dtype=torch.float64), checkpoint=checkpoint)
    with pytest.raises(ValueError, match=r"checkpoint '.*run.pt' is of another model: .* has shape"):
        quick(checkpoint=checkpoint)


@pytest.mark.parametrize("content", [b"", b"no checkpoint", {"weight": torch.zeros(2)}, [1, 2], Net()])
def test_a_file_that_is_no_checkpoint_is_refused_and_kept(content, tmp_path):
    checkpoint = tmp_path / "run.pt"
    if isinstance(content, bytes):
        checkpoint.write_bytes(content)
    else:
        torch.save(content, checkpoint)
    before = checkpoint.read_bytes()
    with pytest.raises(ValueError, match=r"checkpoint is '.*run.pt'; expected a file that fit wrote"):
        quick(checkpoint=checkpoint)
    assert checkpoint.read_bytes() == before


def test_a_loss_that_is_not_finite_is_noticed_and_not_saved(tmp_path):
    checkpoint, steps = tmp_path / "run.pt", []

    def loss(model, x, generator):
        steps.append(1)
        return denoising(model, x, generator) * (math.nan if len(steps) >= 5 else 1)

    with pytest.raises(FloatingPointError, match="the loss of step 5 is nan"):
        quick(loss=loss, checkpoint=checkpoint, every=4)
    assert torch.load(checkpoint, weights_only=True)["step"] == 4
