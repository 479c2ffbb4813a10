"""What is computed beside student code: calls, gradients, what a call did to its arguments, what modules hold.

A session holds one namespace of student definitions and answers requests, each a dict of plain
data (`labcheck.inside.wire`). It is the same object in a student's notebook and in the sandbox,
so a check cannot tell the two apart.
"""

from __future__ import annotations

import importlib
import operator
import traceback
from collections.abc import Iterable
from typing import Any, cast

import numpy as np
import torch

from labcheck.inside.loading import said
from labcheck.inside.modules import Counted, Unfit, counted, distinct, fill, is_module, kind_of, tensors
from labcheck.inside.wire import Handle, Message, Opaque, WireError, pack

_NumpyState = tuple[str, np.ndarray, int, int, float]


class Session:
    """Answers requests about one namespace.

    Args:
        namespace: name → object, the student's definitions.
        fixtures: dotted name of the module whose functions make the callables that checks pass in.
    """

    def __init__(self, namespace: dict[str, Any], fixtures: str | None = None) -> None:
        self.namespace = namespace
        self.fixtures = fixtures
        self.handles: list[Any] = []

    def answer(self, request: Message) -> Message:
        """Carry out one request and return a reply of plain data.

        A request has an ``op`` (a method below, without its underscore) and that op's fields; the
        reply has one of the keys ``value``, ``missing``, ``wrong`` and ``error``. Nothing that
        student code raises leaves this method, except what ends the process.
        """
        try:
            reply: Message = getattr(self, "_" + request["op"])(request)
            pack(reply)  # a value that cannot cross is the student's error, reported as such
            return reply
        except WireError as error:
            return {"wrong": f"{'returned' if request['op'] == 'call' else 'holds what cannot be sent:'} {error}"}
        except Unfit as error:
            return {"wrong": said(error)}
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # student code may raise anything, SystemExit too
            return {"error": _describe(error)}

    def _fixture(self, request: Message) -> Message:
        make = getattr(importlib.import_module(cast(str, self.fixtures)), request["name"])
        return {"value": self._keep(counted(make(**self._restore(request["kwargs"]))))}

    def _counted(self, request: Message) -> Message:
        return {"value": self._keep(counted(self._thing(request["handle"])))}

    def _calls(self, request: Message) -> Message:
        thing = self._thing(request["handle"])
        counter = vars(thing).get("forward") if is_module(thing) else thing
        if type(counter) is not Counted:
            raise Unfit(f"returned {kind_of(thing)} whose calls are not counted")
        return {"value": counter.calls}

    def _attribute(self, request: Message) -> Message:
        thing = self._thing(request["handle"])
        try:
            return {"value": self._export(operator.attrgetter(request["name"])(thing))}
        except AttributeError:
            raise Unfit(f"returned {kind_of(thing)} without an attribute `{request['name']}`") from None

    def _module(self, request: Message) -> Message:
        tensors(self._nn_module(request["handle"]))
        return {"value": None}

    def _parameters(self, request: Message) -> Message:
        return {"value": distinct(tensors(self._nn_module(request["handle"])))}

    def _parameter_count(self, request: Message) -> Message:
        parameters = distinct(tensors(self._nn_module(request["handle"]))).values()
        return {"value": sum(p.numel() for p in parameters if p.requires_grad or not request["trainable"])}

    def _state(self, request: Message) -> Message:
        return {"value": tensors(self._nn_module(request["handle"]), buffers=True)}

    def _load_state(self, request: Message) -> Message:
        module, state = self._nn_module(request["handle"]), request["state"]
        own = tensors(module, buffers=True)
        problems = [f"`{name}` is missing" for name in state if name not in own]
        problems += [f"`{name}` is not expected" for name in own if name not in state]
        problems += [
            f"`{name}` has shape {tuple(own[name].shape)} instead of {tuple(value.shape)}"
            for name, value in state.items()
            if name in own and own[name].shape != value.shape
        ]
        if problems:
            raise Unfit(f"returned {kind_of(module)} with other parameters or buffers: {', '.join(problems)}")
        with torch.no_grad():
            for name, value in state.items():
                own[name].copy_(value)
        return {"value": None}

    def _fill(self, request: Message) -> Message:
        fill(self._nn_module(request["handle"]), request["seed"])
        return {"value": None}

    def _train(self, request: Message) -> Message:
        self._nn_module(request["handle"]).train(request["mode"])
        return {"value": None}

    def _call(self, request: Message) -> Message:
        """Call a graded name or a handle.

        With ``wrt`` (positions and keyword names), those arguments require gradients and the reply
        holds the gradient of ``sum(value * cotangent)`` for each; with ``parameters`` (a module's
        handle), also those of that module's parameters by name.
        """
        target = request["target"]
        if isinstance(target, Handle):
            function = self._thing(target)
        elif target in self.namespace:
            function = self.namespace[target]
        else:
            return {"missing": target}
        args = [self._restore(value) for value in request["args"]]
        kwargs = {name: self._restore(value) for name, value in request["kwargs"].items()}
        where = {**dict(enumerate(args)), **kwargs}
        wrt = [where[name] for name in request.get("wrt", ())]
        for tensor in wrt:
            tensor.requires_grad_(True)
        required = _requires_grad(where.values())
        before = torch.get_rng_state(), _numpy_state()
        with torch.set_grad_enabled(request.get("grad", True)):
            value = function(*args, **kwargs)
        reply: Message = {
            "requires_grad": isinstance(value, torch.Tensor) and value.requires_grad,
            "kept_requires_grad": required == _requires_grad(where.values()),
            "global_draws": not (torch.equal(before[0], torch.get_rng_state()) and before[1] == _numpy_state()),
        }
        if "cotangent" in request:
            module = request.get("parameters")
            parameters = distinct(tensors(self._nn_module(module))) if module else {}  # a call may have made them
            trainable = {name: tensor for name, tensor in parameters.items() if tensor.requires_grad}
            grads = _vjp(value, [*wrt, *trainable.values()], request["cotangent"])
            reply["grads"] = grads[: len(wrt)]
            reply["parameter_grads"] = dict.fromkeys(parameters) | dict(zip(trainable, grads[len(wrt) :], strict=True))
        if request.get("arguments"):
            reply["arguments"] = [list(map(self._export, args)), {k: self._export(v) for k, v in kwargs.items()}]
        reply["value"] = self._export(value)
        return reply

    def _restore(self, value: Any) -> Any:
        """Handles become the objects they stand for, in containers too."""
        if isinstance(value, Handle):
            return self._thing(value)
        if isinstance(value, (list, tuple)):
            return type(value)(self._restore(item) for item in value)
        if isinstance(value, dict):
            return {key: self._restore(item) for key, item in value.items()}
        return value

    def _export(self, value: Any) -> Any:
        """What crosses stays as it is; callables become handles; the rest becomes its type's name."""
        if isinstance(value, torch.Size):
            return tuple(value)
        if isinstance(value, (list, tuple)):
            return (tuple if isinstance(value, tuple) else list)(self._export(item) for item in value)
        if isinstance(value, dict):
            return {key: self._export(item) for key, item in value.items()}
        if callable(value):
            return self._keep(value)
        try:
            pack(value)
        except WireError:
            if isinstance(value, (torch.Tensor, np.ndarray, str, int)):
                raise  # its type crosses; the student is told why this one does not
            return Opaque(type(value).__name__)
        return value

    def _keep(self, thing: object) -> Handle:
        self.handles.append(thing)
        return Handle(len(self.handles) - 1, type(thing).__name__)

    def _thing(self, handle: Handle) -> Any:
        if not 0 <= handle.index < len(self.handles):
            raise Unfit("returned a handle that stands for nothing")
        return self.handles[handle.index]

    def _nn_module(self, handle: Handle) -> torch.nn.Module:
        thing = self._thing(handle)
        if not is_module(thing):
            raise Unfit(f"returned {kind_of(thing)}; a torch.nn.Module was expected")
        return thing


def _requires_grad(values: Iterable[object]) -> list[bool]:
    return [value.requires_grad for value in values if isinstance(value, torch.Tensor)]


def _numpy_state() -> bytes:
    _, keys, *position = cast(_NumpyState, np.random.get_state())  # a few draws change the position alone
    return keys.tobytes() + repr(position).encode()


def _vjp(value: Any, wrt: list[torch.Tensor], cotangent: Any) -> list[torch.Tensor | None]:
    """Gradients of sum(value * cotangent), for a tensor or a sequence of tensors; None where there is no graph."""
    if isinstance(cotangent, torch.Tensor):
        value, cotangent = [value], [cotangent]
    if not isinstance(value, (list, tuple)) or len(value) != len(cotangent):
        return [None] * len(wrt)
    pairs = [
        (v, c.to(v.dtype))
        for v, c in zip(value, cotangent, strict=True)
        if isinstance(v, torch.Tensor) and v.requires_grad and v.shape == c.shape
    ]
    if not pairs or not wrt:
        return [None] * len(wrt)
    outputs, weights = zip(*pairs, strict=True)
    return list(torch.autograd.grad(outputs, wrt, weights, allow_unused=True))


def _describe(error: BaseException) -> dict[str, str]:
    """Type, message, and the last line of the student's own code on the way to the error."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith("<")]
    frames = frames or [frame for frame in traceback.extract_tb(error.__traceback__) if "ipykernel" in frame.filename]
    where = f"line {frames[-1].lineno}: {frames[-1].line}" if frames and frames[-1].line else ""
    return {"type": type(error).__name__[:100], "message": said(error), "where": where[:200]}
