"""One batch on several processes, such that every loss is what one process would compute.

Every process holds the whole batch and a generator in the same state, so that all make the same draws. Only the model's
work is divided: on the way into the model the rows of the others are left out, on the way out they are fetched,

    rows of all -> [own rows] -> model -> [all rows] -> loss,

and so the loss, whatever it does with the batch, is the same number everywhere. The two brackets are each other's
transposes, which makes gradients right, also of losses that differentiate inside. What the loss does with the model's
parts beside this way is right too, only done by each.

The means are Accelerate's; without it there is one process.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class Processes:
    """The processes that train together. accelerator: an `accelerate.Accelerator`, or None where there is but one.

    Raises ValueError for an accelerator that splits the model itself or computes in fp16 or fp8.
    """

    accelerator: Any = None

    def __post_init__(self) -> None:
        if self.accelerator is None:
            return
        kind, precision = self.accelerator.distributed_type.value, self.accelerator.mixed_precision
        if kind in ("FSDP", "DEEPSPEED", "MEGATRON_LM") or precision not in ("no", "bf16"):
            raise ValueError(
                f"accelerator has distributed_type {kind} and mixed_precision {precision}; "
                "expected one that keeps the whole model on each device, and 'no' or 'bf16'"
            )

    @property
    def count(self) -> int:
        return 1 if self.accelerator is None else int(self.accelerator.num_processes)

    @property
    def first(self) -> bool:
        """Whether this is the process that shows progress and writes files."""
        return self.accelerator is None or bool(self.accelerator.is_main_process)

    @property
    def bf16(self) -> bool:
        return self.accelerator is not None and self.accelerator.mixed_precision == "bf16"

    def start_alike(self, model: nn.Module, generator: torch.Generator) -> None:
        """Move the model to the accelerator's device, and give all the first process's weights and generator."""
        if self.accelerator is None:
            return
        model.to(self.accelerator.device)
        if self.count > 1:
            with torch.no_grad():
                for tensor in (*model.parameters(), *model.buffers()):
                    tensor.copy_(self._of_first(tensor))
            generator.set_state(self._of_first(generator.get_state()).cpu())

    def agree(self, value: float) -> float:
        """The first process's value, for example of its clock."""
        return value if self.count == 1 else float(self._of_first(torch.tensor(value)).item())

    def _of_first(self, tensor: torch.Tensor) -> torch.Tensor:
        everyones: torch.Tensor = self.accelerator.gather(tensor.detach()[None].to(self.accelerator.device))
        return everyones[0]

    @contextmanager
    def divide(self, model: nn.Module) -> Iterator[None]:
        """Inside, a call of `model` is divided by the rows of its first tensor, which the others may share or not.

        A call whose number of rows is not a multiple of the processes is made by each. Raises ValueError if the model
        returns anything but rows that belong to those it was given.
        """
        if self.count == 1:
            yield
            return
        from accelerate.utils import recursively_apply

        undivided = model.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            rows = next((len(a) for a in (*args, *kwargs.values()) if isinstance(a, torch.Tensor) and a.ndim), 0)
            if rows == 0 or rows % self.count:
                return undivided(*args, **kwargs)

            def own_rows(x: torch.Tensor) -> Any:
                return _OwnRows.apply(x, self) if x.ndim and len(x) == rows else x

            def all_rows(x: torch.Tensor) -> Any:
                if x.ndim == 0 or len(x) != rows // self.count:
                    raise ValueError(f"model returned shape {tuple(x.shape)}; expected {rows // self.count} rows")
                return _AllRows.apply(x, self)

            args, kwargs = recursively_apply(own_rows, (args, kwargs))
            return recursively_apply(all_rows, undivided(*args, **kwargs))

        model.forward = forward
        try:
            yield
        finally:
            del model.forward

    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace each gradient by its mean over the processes."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if self.count == 1 or not gradients:
            return
        flat = self.accelerator.reduce(torch.cat([gradient.flatten() for gradient in gradients]), "mean")
        for gradient in gradients:
            mean, flat = flat[: gradient.numel()], flat[gradient.numel() :]
            gradient.copy_(mean.view_as(gradient))


def launched() -> Processes:
    """Those that `accelerate launch` or `torchrun` started, of which this is one; else this alone."""
    if "ACCELERATE_MIXED_PRECISION" not in os.environ and int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Processes()
    from accelerate import Accelerator

    return Processes(Accelerator(cpu=not torch.accelerator.is_available()))


# Gradients are averaged in the end, and the losses of all n processes are one and the same. So what a process computes
# from its own rows must count n times: the transpose of "own rows" is "all rows" / n, that of "all rows" n "own rows".


class _OwnRows(torch.autograd.Function):
    """Of the rows x, which all processes hold, this one's share."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, processes: Processes) -> torch.Tensor:
        ctx.processes = processes
        share = len(x) // processes.count
        return x.narrow(0, processes.accelerator.process_index * share, share)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        return _AllRows.apply(gradients[0], ctx.processes) / ctx.processes.count, None


class _AllRows(torch.autograd.Function):
    """The rows of all processes, in their order, x being this one's share."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, processes: Processes) -> Any:
        ctx.processes = processes
        return processes.accelerator.gather(x)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        return _OwnRows.apply(gradients[0], ctx.processes) * ctx.processes.count, None
