"""Two processes against one: the same losses and weights, whatever the loss does with its model."""

import copy
import json
import os
import runpy
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from noise2data import processes
from noise2data.processes import Processes
from noise2data.training import fit


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


class Together:
    """What an Accelerator does, for processes that are threads."""

    def __init__(self, n):
        self.barrier, self.given = threading.Barrier(n), [None] * n

    def accelerator(self, index):
        def gather(x):
            self.given[index] = x.detach().clone()
            self.barrier.wait(30)
            rows = torch.cat(self.given)
            self.barrier.wait(30)
            return rows

        return SimpleNamespace(
            distributed_type=SimpleNamespace(value="MULTI_CPU"),
            mixed_precision="no",
            num_processes=len(self.given),
            process_index=index,
            is_main_process=index == 0,
            device=torch.device("cpu"),
            gather=gather,
            reduce=lambda x, how: gather(x[None]).mean(0) if how == "mean" else None,
        )


def run(n, task):
    """task(accelerator) on n threads at once; the results. An error of one is raised."""
    together, results, errors = Together(n), [None] * n, []

    def one(index):
        try:
            results[index] = task(together.accelerator(index))
        except Exception as error:
            errors.append(error)
            together.barrier.abort()

    threads = [threading.Thread(target=one, args=(index,)) for index in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for error in errors:
        if not isinstance(error, threading.BrokenBarrierError):
            raise error
    return results


class Net(nn.Module):
    def __init__(self, seed=0):
        super().__init__()
        self.lift, self.lower = nn.Linear(3, 8, dtype=torch.float64), nn.Linear(8, 2, dtype=torch.float64)
        self.register_buffer("mean", torch.zeros(2, dtype=torch.float64))
        with torch.no_grad():
            for tensor in (*self.parameters(), self.mean):
                tensor.normal_(generator=generator(seed))

    def forward(self, x, t, y=None):
        hidden = torch.tanh(self.lift(torch.cat([x, t.expand(len(x))[:, None]], 1)))
        return self.mean + self.lower(hidden) + (0 if y is None else y[:, None])


def noisy(x0, generator):
    t = torch.rand(len(x0), generator=generator, dtype=x0.dtype)
    eps = torch.randn(x0.shape, generator=generator, dtype=x0.dtype)
    return (1 - t[:, None]) * x0 + t[:, None] * eps, t, eps


def simple(model, x0, generator):
    x, t, _ = noisy(x0, generator)
    return (model(x, t) - x0).square().mean()


def labelled(model, x0, generator):
    x, t, _ = noisy(x0, generator)
    y = torch.randint(3, (len(x0),), generator=generator)
    return (model(x, t, y=y) - x0).square().mean() + (model(x, torch.tensor(0.5, dtype=x.dtype)) - x0).abs().mean()


def across_rows(model, x0, generator):
    """Not a mean of something of each row."""
    x, t, eps = noisy(x0, generator)
    return torch.linalg.matrix_norm(model(x, t).T @ eps) / (1 + model(x, t).std())


def differentiating_inside(model, x0, generator):
    """As in score matching: gradients of gradients."""
    x, t, eps = noisy(x0, generator)
    x.requires_grad_()
    out = model(x, t)
    (inner,) = torch.autograd.grad((out * eps).sum(), x, create_graph=True)
    return out.square().mean() + (inner * eps).sum(1).square().mean()


def beside_the_model(model, x0, generator):
    """Weights and layers used directly, and calls with rows that cannot be divided."""
    x, t, _ = noisy(x0, generator)
    direct = model.lower(torch.tanh(model.lift(torch.cat([x, t[:, None]], 1))))
    return (model(x, t) * direct).mean() + model.lift.weight.square().sum() + model(x[:1], t[:1]).square().mean()


LOSSES = [simple, labelled, across_rows, differentiating_inside, beside_the_model]


def train(loss, accelerator=None, seed=0, **kwargs):
    model = Net(seed)
    data = torch.randn(50, 2, generator=generator(9), dtype=torch.float64)
    options = {"steps": 10, "batch_size": 12, "lr": 0.01, "warmup": 2, "progress": False, **kwargs}
    result = fit(model, loss, data, generator=generator(seed), accelerator=accelerator, **options)
    return result, torch.cat([tensor.detach().flatten() for tensor in model.state_dict().values()])


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("loss", LOSSES)
def test_several_processes_compute_what_one_does(loss, n):
    """Also where they start from other weights and generators than the first."""
    alone, weights = train(loss)
    for result, theirs in run(n, lambda accelerator: train(loss, accelerator, seed=accelerator.process_index)):
        torch.testing.assert_close(torch.tensor(result.losses), torch.tensor(alone.losses), rtol=1e-11, atol=1e-12)
        torch.testing.assert_close(theirs, weights, rtol=1e-9, atol=1e-11)


def test_the_models_work_is_divided():
    rows = []

    def task(accelerator):
        model = Net()
        model.lift.register_forward_hook(lambda module, args, out: rows.append(len(args[0])))
        with Processes(accelerator).divide(model):
            out = model(torch.zeros(6, 2, dtype=torch.float64), torch.zeros(6, dtype=torch.float64))
        return out, "forward" in vars(model)

    results = run(2, task)
    assert rows == [3, 3] and all(len(out) == 6 and not left for out, left in results)
    assert torch.equal(results[0][0], results[1][0])


def test_the_first_processs_clock_ends_the_training_of_all():
    results = run(2, lambda accelerator: train(simple, accelerator, steps=None, seconds=0.05)[0])
    assert results[0].steps == results[1].steps and results[0].losses == results[1].losses


def test_only_the_first_process_writes_and_all_resume(tmp_path, monkeypatch):
    saved, save = [], torch.save
    monkeypatch.setattr(torch, "save", lambda *args: (saved.append(1), save(*args)))
    run(2, lambda accelerator: train(simple, accelerator, steps=5, checkpoint=tmp_path / "run.pt"))
    assert len(saved) == 1
    alone, weights = train(simple, steps=10)
    for result, theirs in run(2, lambda accelerator: train(simple, accelerator, checkpoint=tmp_path / "run.pt")):
        torch.testing.assert_close(torch.tensor(result.losses), torch.tensor(alone.losses), rtol=1e-11, atol=1e-12)
        torch.testing.assert_close(theirs, weights, rtol=1e-9, atol=1e-11)


def test_batches_and_models_that_cannot_be_divided_are_refused():
    with pytest.raises(ValueError, match="batch_size is 7; expected a multiple of 2, the processes' number"):
        run(2, lambda accelerator: train(simple, accelerator, batch_size=7))

    class Mean(nn.Linear):
        def forward(self, x):
            return super().forward(x).mean()

    def task(accelerator):
        with Processes(accelerator).divide(model := Mean(2, 2)):
            model(torch.zeros(6, 2))

    with pytest.raises(ValueError, match=r"model returned shape \(\); expected 3 rows"):
        run(2, task)


@pytest.mark.parametrize(("kind", "precision"), [("FSDP", "no"), ("DEEPSPEED", "bf16"), ("NO", "fp16")])
def test_accelerators_that_split_the_model_or_need_a_scaler_are_refused(kind, precision):
    accelerator = SimpleNamespace(distributed_type=SimpleNamespace(value=kind), mixed_precision=precision)
    with pytest.raises(ValueError, match=f"distributed_type {kind} and mixed_precision {precision}; expected"):
        Processes(accelerator)


def test_one_process_needs_no_accelerator(monkeypatch):
    for name in ("ACCELERATE_MIXED_PRECISION", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    alone = processes.launched()
    assert alone == Processes() and alone.count == 1 and alone.first and not alone.bf16
    model, weights = nn.Linear(2, 2), copy.deepcopy(nn.Linear(2, 2))
    weights.load_state_dict(model.state_dict())
    with alone.divide(model):
        assert "forward" not in vars(model)
    assert torch.equal(model.weight, weights.weight) and alone.agree(0.1) == 0.1


SCRIPT = """
import json, os, sys
import torch
from torch import nn
from noise2data.training import fit

rank = int(os.environ.get("RANK", "0"))
torch.manual_seed(rank)
model = nn.Sequential(nn.Linear(2, 16), nn.SiLU(), nn.Linear(16, 2)).double()
if not rank:
    torch.manual_seed(0)
    model.load_state_dict(nn.Sequential(nn.Linear(2, 16), nn.SiLU(), nn.Linear(16, 2)).double().state_dict())

def loss(model, x0, generator):
    t = torch.rand(len(x0), 1, generator=generator, dtype=x0.dtype)
    eps = torch.randn(x0.shape, generator=generator, dtype=x0.dtype)
    return (model((1 - t) * x0 + t * eps) - x0).square().mean()

data = torch.randn(50, 2, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
result = fit(model, loss, data, steps=30, batch_size=8, generator=torch.Generator().manual_seed(rank), progress=False)
record = [torch.distributed.is_initialized() and torch.distributed.get_backend(), list(result.losses)]
record.append(torch.cat([p.detach().flatten() for p in result.ema.parameters()]).tolist())
with open(sys.argv[1] + str(rank), "w") as file:
    json.dump(record, file)
"""


def test_a_script_runs_unchanged_under_accelerate_launch(tmp_path, monkeypatch):
    """Two processes that speak by gloo have the losses and weights of one with the same batch."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    launch = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--multi_gpu",
        "--num_processes=2",
        "--num_machines=1",
    ]
    launch += ["--mixed_precision=no", "--dynamo_backend=no", "--main_process_port=0"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    command = [*launch, str(script), str(tmp_path / "two")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    monkeypatch.setattr(sys, "argv", [str(script), str(tmp_path / "one")])
    runpy.run_path(str(script))
    one, *two = (json.loads((tmp_path / name).read_text()) for name in ("one0", "two0", "two1"))
    assert one[0] is False
    for record in two:
        assert record[0] == "gloo"
        torch.testing.assert_close(torch.tensor(record[1]), torch.tensor(one[1]), rtol=1e-12, atol=0)
        torch.testing.assert_close(torch.tensor(record[2]), torch.tensor(one[2]), rtol=1e-10, atol=1e-12)
