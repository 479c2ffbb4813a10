"""What checks ask of a student's modules and callables: counted calls, a fixed state, tensors by name."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import Any, TypeGuard

import torch


class Unfit(Exception):
    """What a handle stands for is not what was asked for; the message goes on from the task's name."""


class Counted:
    """A callable that counts how often it is called."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.calls = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        return self.function(*args, **kwargs)


def counted(function: Callable[..., Any]) -> Callable[..., Any]:
    """The callable, such that its calls are counted: a function in a wrapper, a module with a wrapped ``forward``."""
    if not is_module(function):
        return Counted(function)
    vars(function)["forward"] = Counted(function.forward)  # it stays a module for whoever it is passed to
    return function


def fill(module: torch.nn.Module, seed: int) -> None:
    """Set every parameter to values that depend on the seed, its name and its shape alone.

    Modules with the same names and shapes are then the same function, in whatever order their
    layers were created; buffers stay as they are. A check calls this on its own reference, and
    `labcheck.answer.ModuleHandle.fill` on the student's module.

    Args:
        module: changed in place. Values are normal with variance one over the number of entries
            in each slice along the first axis (the fan-in of a linear or convolutional layer).
        seed: any integer.
    """
    with torch.no_grad():
        for name, tensor in sorted(tensors(module).items()):
            shape = tuple(tensor.shape)
            digest = hashlib.sha256(f"{seed}/{name}/{shape}".encode()).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
            tensor.copy_(torch.randn(shape, generator=generator) / math.sqrt(max(1, math.prod(shape[1:]))))


def tensors(module: torch.nn.Module, prefix: str = "", buffers: bool = False) -> dict[str, torch.Tensor]:
    """Parameters, and with ``buffers`` the persistent buffers too, by the names that ``state_dict`` gives them.

    Read from the registers of the module and its children, because their methods may be
    overridden; a tensor that is registered twice has both names.
    """
    own = vars(module)
    if "_modules" not in own:
        raise Unfit(f"returned {kind_of(module)} whose __init__ does not call super().__init__()")
    named = {prefix + name: tensor for name, tensor in own["_parameters"].items()}
    if buffers:
        fleeting = own["_non_persistent_buffers_set"]
        named |= {prefix + name: tensor for name, tensor in own["_buffers"].items() if name not in fleeting}
    for name, child in own["_modules"].items():
        if child is not None:
            named |= tensors(child, f"{prefix}{name}.", buffers)
    return {name: tensor for name, tensor in named.items() if tensor is not None}


def is_module(thing: object) -> TypeGuard[torch.nn.Module]:
    """Whether this is a torch module, whatever it says of itself."""
    return issubclass(type(thing), torch.nn.Module)  # isinstance would ask the object's own __class__


def kind_of(thing: object) -> str:
    """A thing's type, in a sentence to the student."""
    return f"an object of type {type(thing).__name__}"


def distinct(named: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Each tensor once, under its first name."""
    first: dict[int, tuple[str, torch.Tensor]] = {}
    for name, tensor in named.items():
        first.setdefault(id(tensor), (name, tensor))
    return dict(first.values())
