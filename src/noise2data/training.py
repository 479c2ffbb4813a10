"""Training: one loop for every model of the course, that survives being killed and runs on many devices.

The loop knows nothing of diffusion. It asks a function `loss(model, batch, generator)` for a 0-d tensor, and this
function says all that is to be said of the method, for example

    def loss(denoiser, x0, generator):
        t = torch.rand(len(x0), generator=generator)
        eps = torch.randn(x0.shape, generator=generator)
        return (denoiser(denoiser.path.mix(x0, eps, t), t) - x0).square().mean()

Whatever is drawn (the order of the data, t, eps, dropped labels) comes from the one generator. Its state is saved with
the weights, so that a run which was killed and started again ends with the very weights of an undisturbed one.

Samples are drawn from an average of the weights, not from the last ones. Step k = 1, 2, ... of training moves it by

    average <- d_k * average + (1 - d_k) * weights.                                                            (1)

Derived in the book: chapter 6, equations (6.13) and (6.14).
"""

import copy
import math
import os
import pickle
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from noise2data.processes import Processes, launched

Batch = torch.Tensor | tuple[torch.Tensor, ...]
Loss = Callable[..., torch.Tensor]  # (model, batch, generator), and ema=model where `fit` is told so


# The average of the weights ---------------------------------------------------------------------------------


@torch.no_grad()
def ema_update(ema_model: nn.Module, model: nn.Module, decay: float) -> None:
    """Equation (1) with d_k = decay, in place, for all parameters and floating buffers; other buffers are copied.

    decay: in [0, 1]; 0 copies the model. Nothing else of either model changes.
    Raises ValueError for any other decay, and if the two models do not have the same parameters and buffers.
    """
    if not 0 <= decay <= 1:
        raise ValueError(f"decay is {decay}; expected a number in [0, 1]")
    averages, news = ({**dict(m.named_parameters()), **dict(m.named_buffers())} for m in (ema_model, model))
    _expect_same("ema_model", averages, news)
    for name, average in averages.items():
        if average.is_floating_point():
            average.lerp_(news[name].to(average), 1 - decay)
        else:
            average.copy_(news[name])


def _expect_same(what: str, have: dict[str, torch.Tensor], want: dict[str, torch.Tensor]) -> None:
    for name in {**want, **have}:
        found, expected = (tuple(tensors[name].shape) if name in tensors else "nothing" for tensors in (have, want))
        if found != expected:
            raise ValueError(f"{what} is of another model: {name} has shape {found}; expected {expected}")


def constant_decay(decay: float) -> Callable[[int], float]:
    """d_k of an average in which each step counts `decay` times as much as the next one; decay in [0, 1).

    The factors sum to 1 from the first step on, so that nothing is left of the random weights that training starts
    from: d_k = decay (1 - decay^(k-1)) / (1 - decay^k), which is 0 at k = 1 and tends to decay.
    Raises ValueError for any other decay.
    Source: the bias correction of Kingma and Ba, "Adam", 2015, section 3, as a recursion.
    """
    if not 0 <= decay < 1:
        raise ValueError(f"decay is {decay}; expected a number in [0, 1)")
    return lambda k: decay * (1 - decay ** (k - 1)) / (1 - decay**k)


def power_decay(width: float) -> Callable[[int], float]:
    """d_k = (1 - 1/k)^(gamma + 1) of an average that is as wide as a fixed share of the training so far.

    width: the standard deviation of the averaged steps over their number, in (0, 0.28]. It suits short and long runs
    alike, where a constant decay suits one length. Raises ValueError for any other width.
    Source: Karras et al., "Analyzing and Improving the Training Dynamics of Diffusion Models", 2024, section 3.1.
    """
    if not 0 < width <= 0.28:
        raise ValueError(f"width is {width}; expected a number in (0, 0.28]")
    # width^2 = (gamma + 1) / ((gamma + 2)^2 (gamma + 3)), a cubic whose largest root weighs the last steps most
    gamma = np.roots([1, 7, 16 - width**-2, 12 - width**-2]).real.max()
    return lambda k: float((1 - 1 / k) ** (gamma + 1))


# The data ---------------------------------------------------------------------------------------------------


def split(data: Batch, fraction: float, generator: torch.Generator | None = None) -> tuple[Any, Any]:
    """Set a random part of the data aside: (the rest, the part), each a tensor or a tuple as `data` is.

    data: a tensor (N, ...), or a tuple of tensors that belong together row by row. fraction: the part's share of the N
    rows, rounded. Raises ValueError if that leaves no row to one of the two, and if the tensors differ in length.
    """
    n = _length("data", data)
    aside = round(fraction * n)
    if not 0 < aside < n:
        raise ValueError(f"fraction is {fraction}; expected a number in (0, 1) that leaves each part some of {n} rows")
    order = _shuffled(n, generator)
    return _rows(data, order[aside:]), _rows(data, order[:aside])


def _length(name: str, data: Batch) -> int:
    lengths = sorted({len(part) for part in ((data,) if isinstance(data, torch.Tensor) else data)})
    if len(lengths) != 1 or lengths == [0]:
        raise ValueError(f"{name} has tensors of {lengths} rows; expected the same number, at least 1")
    return lengths[0]


def _rows(data: Batch, index: torch.Tensor) -> Batch:
    if isinstance(data, torch.Tensor):
        return data[index.to(data.device)]
    return tuple(part[index.to(part.device)] for part in data)


def _to(batch: Batch, device: torch.device) -> Batch:
    return batch.to(device) if isinstance(batch, torch.Tensor) else tuple(part.to(device) for part in batch)


def _shuffled(n: int, generator: torch.Generator | None) -> torch.Tensor:
    return torch.randperm(n, generator=generator, device=generator.device if generator is not None else None).cpu()


# The loop ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fit:
    """What `fit` returns.

    ema: the averaged model, in eval mode. losses: one for each step. held_out: the averaged model's loss on the
    validation data, None without. steps, seconds: what it took, all runs of a resumed training together.
    """

    ema: nn.Module
    losses: tuple[float, ...]
    held_out: float | None
    steps: int
    seconds: float


def learning_rate(lr: float, step: int, warmup: int, share: float, cosine: bool) -> float:
    """The rate of step 0, 1, ...: it rises linearly over `warmup` steps to lr, then stays or falls along a cosine.

    share: how much of the budget is spent, in [0, 1]; with cosine the rate is 0 at its end.
    Source of the cosine: Loshchilov and Hutter, "SGDR", 2017, equation (5), without restarts.
    """
    rate = lr * min(1.0, (step + 1) / (warmup + 1))
    return rate * (1 + math.cos(math.pi * share)) / 2 if cosine else rate


def held_out_loss(
    model: nn.Module,
    loss: Loss,
    data: Batch,
    *,
    batch_size: int = 256,
    repeats: int = 8,
    generator: torch.Generator | None = None,
) -> float:
    """The mean loss over all rows of `data`, each met with `repeats` draws.

    generator: None is one seeded with 0, so that models are compared on the same draws. Raises ValueError for data
    that is no tensor (N, ...) or tuple of them.
    """
    generator = generator if generator is not None else torch.Generator().manual_seed(0)
    n, device, total = _length("data", data), next(model.parameters()).device, 0.0
    for _ in range(repeats):
        for index in torch.arange(n).tensor_split(math.ceil(n / batch_size)):
            # Not under no_grad, because there are losses that differentiate inside.
            total += len(index) * loss(model, _to(_rows(data, index), device), generator).item()
    return total / (repeats * n)


def fit(
    model: nn.Module,
    loss: Loss,
    data: Batch | Callable[[int, torch.Generator], Batch],
    *,
    steps: int | None = None,
    seconds: float | None = None,
    batch_size: int = 128,
    lr: float = 1e-3,
    warmup: int = 100,
    cosine: bool = False,
    weight_decay: float = 0.0,
    clip: float | None = 1.0,
    ema_decay: float | Callable[[int], float] | None = None,
    with_ema: bool = False,
    bf16: bool = False,
    validation: Batch | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    every: int = 500,
    generator: torch.Generator | None = None,
    progress: bool = True,
    accelerator: Any = None,
) -> Fit:
    """Train `model`, in place, with AdamW until a budget is spent.

    loss: `loss(model, batch, generator)`, a 0-d tensor. What it draws, it draws from `generator`.
    data: a tensor (N, ...), or a tuple of tensors that belong together row by row, shuffled anew each time all have
        been seen; or a function `data(n, generator)` that draws n rows. A batch has the same form, on the model's
        device.
    steps, seconds: the budget; the first to be spent ends the training. Only steps can be repeated exactly.
    batch_size: rows of a step, on all processes together. lr, warmup, cosine: see `learning_rate`.
    clip: the norm to which longer gradients are cut, or None.
    ema_decay: d_k of equation (1) as a function of k, or a number for `constant_decay`; None is power_decay(0.1).
    with_ema: call `loss(model, batch, generator, ema=average)`, for a loss whose target the averaged model says.
    bf16: compute in bfloat16 what autocast considers safe; the weights stay as they are.
    validation: rows like `data`'s, for `held_out_loss`.
    checkpoint: a file that is written every `every` steps and at the end, and from which training resumes if it is
        there. A run that is killed at any moment and resumed ends with the same weights, bit for bit, if all its
        draws come from `generator` (with None that includes dropout on the CPU).
    generator: None is torch's global one. progress: show a bar with the loss.
    accelerator: an `accelerate.Accelerator`; None finds out whether `accelerate launch` or `torchrun` is at work.

    Raises ValueError for arguments out of range, a loss that is not a 0-d tensor and a checkpoint of another model, and
    FloatingPointError when the loss is no longer finite (within half a second or so, and before it would be saved).
    """
    _check_budget(steps, seconds, batch_size, lr, warmup, clip, every)
    n = 0 if callable(data) else _length("data", data)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        raise ValueError("model has no parameter that requires a gradient; expected something to train")
    if ema_decay is None or isinstance(ema_decay, (int, float)):
        ema_decay = power_decay(0.1) if ema_decay is None else constant_decay(ema_decay)
    generator = generator if generator is not None else torch.default_generator

    processes = launched() if accelerator is None else Processes(accelerator)
    if batch_size % processes.count:
        raise ValueError(f"batch_size is {batch_size}; expected a multiple of {processes.count}, the processes' number")
    processes.start_alike(model, generator)
    device = parameters[0].device
    ema = copy.deepcopy(model).eval()
    loss = partial(loss, ema=ema) if with_ema else loss
    optimizer = torch.optim.AdamW(parameters, weight_decay=weight_decay, fused=device.type in ("cpu", "cuda"))
    run = _Run(model, ema, optimizer, generator)
    if checkpoint is not None and Path(checkpoint).exists():
        run.load(Path(checkpoint))

    began = time.perf_counter() - run.seconds
    with processes.divide(model), _bar(run, steps, seconds, progress and processes.first) as show:
        while (share := run.share(steps, seconds)) < 1:
            if callable(data):
                batch = data(batch_size, generator)
            else:
                while len(run.order) < batch_size:
                    run.order = torch.cat([run.order, _shuffled(n, generator)])
                batch, run.order = _rows(data, run.order[:batch_size]), run.order[batch_size:]

            with torch.autocast(device.type, torch.bfloat16, enabled=bf16 or processes.bf16):
                value = loss(model, _to(batch, device), generator)
            if not isinstance(value, torch.Tensor) or value.ndim:
                raise ValueError(f"loss returned {getattr(value, 'shape', value)!r}; expected a 0-d tensor")
            optimizer.zero_grad()
            value.backward()
            processes.average_gradients(parameters)
            if clip is not None:
                nn.utils.clip_grad_norm_(parameters, clip)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(lr, run.step, warmup, share, cosine)
            optimizer.step()

            run.step += 1
            run.unread.append(value.detach())
            run.seconds = processes.agree(time.perf_counter() - began)
            ema_update(ema, model, ema_decay(run.step))
            show()
            if checkpoint is not None and processes.first and (run.step % every == 0 or run.share(steps, seconds) == 1):
                run.save(Path(checkpoint))
    held_out = None if validation is None else held_out_loss(ema, loss, validation, batch_size=batch_size)
    return Fit(ema, tuple(run.losses), held_out, run.step, run.seconds)


def _check_budget(
    steps: int | None, seconds: float | None, batch_size: int, lr: float, warmup: int, clip: float | None, every: int
) -> None:
    if steps is None and seconds is None:
        raise ValueError("steps and seconds are both None; expected a budget")
    for name, count in (("steps", steps), ("batch_size", batch_size), ("warmup", warmup), ("every", every)):
        least = 0 if name == "warmup" else 1
        if count is not None and (not isinstance(count, int) or count < least):
            raise ValueError(f"{name} is {count!r}; expected a whole number >= {least}")
    for name, value in (("seconds", seconds), ("lr", lr), ("clip", clip)):
        if value is not None and not 0 < value < math.inf:
            raise ValueError(f"{name} is {value!r}; expected a number > 0")


@dataclass
class _Run:
    """All that changes while training, and so what a checkpoint holds."""

    model: nn.Module
    ema: nn.Module
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    step: int = 0
    seconds: float = 0.0
    order: torch.Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))  # the rows to come
    losses: list[float] = field(default_factory=list)
    unread: list[torch.Tensor] = field(default_factory=list)  # to read a loss each step would keep a GPU waiting

    def share(self, steps: int | None, seconds: float | None) -> float:
        """Of the budget that is spent."""
        return min(1.0, max(self.step / (steps or math.inf), self.seconds / (seconds or math.inf)))

    def read_losses(self) -> None:
        values = torch.stack(self.unread).double().tolist() if self.unread else []
        self.unread.clear()
        self.losses += values
        for step, value in enumerate(values, len(self.losses) - len(values) + 1):
            if not math.isfinite(value):
                raise FloatingPointError(f"the loss of step {step} is {value}; a smaller lr may help")

    def save(self, path: Path) -> None:
        """Write a new file and give it the old one's name, so that at every moment there is a whole one."""
        self.read_losses()
        state = {
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "order": self.order,
            "losses": torch.tensor(self.losses, dtype=torch.float64),
            "step": self.step,
            "seconds": self.seconds,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(path.name + ".new")
        with new.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)

    def load(self, path: Path) -> None:
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            self.step, self.seconds, self.order = state["step"], state["seconds"], state["order"]
            self.losses = state["losses"].tolist()
        except (pickle.UnpicklingError, EOFError, RuntimeError, LookupError, TypeError) as error:
            raise ValueError(f"checkpoint is {str(path)!r}; expected a file that fit wrote ({error})") from error
        _expect_same(f"checkpoint {str(path)!r}", state["model"], self.model.state_dict())
        for name in ("model", "ema", "optimizer"):
            getattr(self, name).load_state_dict(state[name])
        self.generator.set_state(state["generator"])


@contextmanager
def _bar(run: _Run, steps: int | None, seconds: float | None, shown: bool) -> Iterator[Callable[[], None]]:
    """A bar in terminals and notebooks, over the steps or else the seconds. What is yielded brings it up to date."""
    from tqdm.auto import tqdm

    total, unit = (steps, "step") if steps is not None else (math.ceil(seconds or 0), "s")
    last = time.perf_counter()

    def done() -> int:
        return run.step if steps is not None else round(run.share(steps, seconds) * total)

    with tqdm(total=total, unit=unit, initial=done(), disable=not shown) as bar:

        def show() -> None:
            nonlocal last
            if time.perf_counter() - last > 0.2 or run.share(steps, seconds) == 1:
                last = time.perf_counter()
                run.read_losses()
                recent = run.losses[-100:]
                bar.set_postfix(loss=f"{sum(recent) / len(recent):.4f}", refresh=False)
                bar.update(done() - bar.n)

        yield show
