"""What is computed beside student code: calls, gradients, and what a call did to its arguments.

A session holds one namespace of student definitions and answers requests, each a dict of plain
data (`labcheck.inside.wire`). It is the same object in a student's notebook and in the sandbox,
so a check cannot tell the two apart.
"""

from __future__ import annotations

import importlib
import traceback

import numpy as np
import torch

from labcheck.inside.loading import said
from labcheck.inside.wire import Handle, Opaque, WireError, pack


class Counted:
    """A callable that counts how often it is called."""

    def __init__(self, function):
        self.function = function
        self.calls = 0

    def __call__(self, *args, **kwargs):
        self.calls += 1
        return self.function(*args, **kwargs)


class Session:
    """Answers requests about one namespace.

    Args:
        namespace: name → object, the student's definitions.
        fixtures: dotted name of the module whose functions make the callables that checks pass in.
    """

    def __init__(self, namespace: dict, fixtures: str | None = None):
        self.namespace = namespace
        self.fixtures = fixtures
        self.handles: list = []

    def answer(self, request: dict) -> dict:
        """Carry out one request and return a reply of plain data.

        A request has an ``op`` ("call", "fixture" or "calls") and that op's fields; the reply has
        one of the keys ``value``, ``missing`` and ``error``. Nothing that student code raises
        leaves this method, except what ends the process.
        """
        try:
            reply = getattr(self, "_" + request["op"])(request)
            pack(reply)  # a value that cannot cross is the student's error, reported as such
            return reply
        except WireError as error:
            return {"error": {"type": "TypeError", "message": f"returned {error}", "where": ""}}
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # student code may raise anything, SystemExit too
            return {"error": _describe(error)}

    def _fixture(self, request):
        make = getattr(importlib.import_module(self.fixtures), request["name"])
        return {"value": self._keep(Counted(make(**request["kwargs"])))}

    def _calls(self, request):
        return {"value": self.handles[request["handle"].index].calls}

    def _call(self, request):
        """Call a graded name or a handle.

        With ``wrt`` (positions and keyword names), those arguments require gradients and the reply
        holds the gradient of ``sum(value * cotangent)`` for each.
        """
        target = request["target"]
        if isinstance(target, Handle):
            function = self.handles[target.index]
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
        reply = {
            "requires_grad": isinstance(value, torch.Tensor) and value.requires_grad,
            "kept_requires_grad": required == _requires_grad(where.values()),
            "global_draws": not (torch.equal(before[0], torch.get_rng_state()) and before[1] == _numpy_state()),
        }
        if "cotangent" in request:
            reply["grads"] = _vjp(value, wrt, request["cotangent"])
        if request.get("arguments"):
            reply["arguments"] = [list(map(self._export, args)), {k: self._export(v) for k, v in kwargs.items()}]
        reply["value"] = self._export(value)
        return reply

    def _restore(self, value):
        """Handles become the objects they stand for, in containers too."""
        if isinstance(value, Handle):
            return self.handles[value.index]
        if isinstance(value, (list, tuple)):
            return type(value)(self._restore(item) for item in value)
        if isinstance(value, dict):
            return {key: self._restore(item) for key, item in value.items()}
        return value

    def _export(self, value):
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

    def _keep(self, thing) -> Handle:
        self.handles.append(thing)
        return Handle(len(self.handles) - 1, type(thing).__name__)


def _requires_grad(values) -> list[bool]:
    return [value.requires_grad for value in values if isinstance(value, torch.Tensor)]


def _numpy_state() -> bytes:
    _, keys, *position = np.random.get_state()  # a few draws change the position alone
    return keys.tobytes() + repr(position).encode()


def _vjp(value, wrt, cotangent):
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
    if not pairs:
        return [None] * len(wrt)
    outputs, weights = zip(*pairs, strict=True)
    return list(torch.autograd.grad(outputs, wrt, weights, allow_unused=True))


def _describe(error: BaseException) -> dict:
    """Type, message, and the last line of the student's own code on the way to the error."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith("<")]
    frames = frames or [frame for frame in traceback.extract_tb(error.__traceback__) if "ipykernel" in frame.filename]
    where = f"line {frames[-1].lineno}: {frames[-1].line}" if frames and frames[-1].line else ""
    return {"type": type(error).__name__[:100], "message": said(error), "where": where[:200]}
