"""The student's namespace as a check sees it, wherever the student's code runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeGuard, TypeVar

import torch

from labcheck.expect import CheckFailed, describe
from labcheck.inside.session import Session
from labcheck.inside.wire import Handle, Message, WireError, pack, unpack

_CALL_KEYS = ("value", "requires_grad", "kept_requires_grad", "global_draws")
_T = TypeVar("_T")


class AnswerError(CheckFailed):
    """The student's code raised, or there was nothing to call.

    Attributes:
        status: "error", "timeout", "memory", "missing" or "forbidden".
    """

    def __init__(self, message: str, status: str = "error") -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Observation:
    """What one call did.

    Attributes:
        value: what it returned.
        args, kwargs: its arguments after the call.
        requires_grad: whether the returned tensor is part of a graph.
        kept_requires_grad: whether every argument's ``requires_grad`` is as before.
        global_draws: whether torch's or numpy's global random generator was used.
        grads: the gradients that were asked for; None where there is none.
        parameter_grads: gradients by the names of a module's parameters, where they were asked for.
    """

    value: Any
    args: list[Any] = field(default_factory=list)
    kwargs: dict[str, Any] = field(default_factory=dict)
    requires_grad: bool = False
    kept_requires_grad: bool = True
    global_draws: bool = False
    grads: list[torch.Tensor | None] = field(default_factory=list)
    parameter_grads: dict[str, torch.Tensor | None] = field(default_factory=dict)


@dataclass(frozen=True)
class ModuleHandle(Handle):
    """A ``torch.nn.Module`` on the student's side; it can be called, and passed as an argument.

    What it holds is read from its registers, whatever its class overrides. Every method raises
    AnswerError if the module does not allow what is asked for, or the reply is malformed.

    Attributes:
        answer: the Answer that it belongs to.
    """

    answer: Answer = field(kw_only=True, repr=False, compare=False)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.answer.call(self, *args, **kwargs)

    def parameters(self) -> dict[str, torch.Tensor]:
        """Copies of the parameters by name; one that is shared stands under its first name."""
        return self._ask("parameters", _are_tensors)

    def parameter_count(self, trainable: bool = False) -> int:
        """The number of entries of all parameters, or with ``trainable`` of those that require gradients."""
        return self._ask("parameter_count", _is_count, trainable=trainable)

    def state(self) -> dict[str, torch.Tensor]:
        """Copies of the parameters and persistent buffers, under the names of ``state_dict``."""
        return self._ask("state", _are_tensors)

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        """Set all parameters and persistent buffers.

        Args:
            state: a tensor for each name of `state`, of its shape; values are cast to its dtype.

        Raises:
            AnswerError: with each name that is missing, is not expected, or has another shape.
        """
        self._ask("load_state", _is_none, state=dict(state))

    def fill(self, seed: int) -> None:
        """Set all parameters as `labcheck.inside.session.fill` does: for modules too large for `load_state`."""
        self._ask("fill", _is_none, seed=seed)

    def train(self, mode: bool = True) -> None:
        """Set training mode, or with False evaluation mode."""
        self._ask("train", _is_none, mode=mode)

    def _ask(self, op: str, valid: Callable[[Any], TypeGuard[_T]], **fields: Any) -> _T:
        return self.answer._value({"op": op, "handle": self, **fields}, valid)


class Answer:
    """Calls the student's functions: ``answer.euler_step(f, x, t, dt)``.

    Arguments and results cross as plain data; callables are fixtures, made on the student's side.

    Args:
        ask: sends a request (a dict of plain data) and returns the reply, as
            `labcheck.inside.session.Session.answer` does.
    """

    def __init__(self, ask: Callable[[Message], Any]) -> None:
        self._ask = ask

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)

        def call(*args: Any, **kwargs: Any) -> Any:
            return self.observe(name, *args, **kwargs).value

        return call

    def fixture(self, name: str, **kwargs: Any) -> Handle:
        """Make one of the battery's named public fixtures on the student's side, to be passed as an argument.

        Its calls are counted. What a fixtures function returns stays what it is where it is a
        ``torch.nn.Module``; other callables are wrapped.
        """
        return self._value({"op": "fixture", "name": name, "kwargs": kwargs}, _is_handle)

    def counted(self, handle: Handle) -> Handle:
        """A handle to the same callable or module, whose calls are counted from now on."""
        return self._value({"op": "counted", "handle": _handle(handle, "a callable")}, _is_handle)

    def calls(self, handle: Handle) -> int:
        """How often a fixture, or what `counted` returned, has been called; of a module, also by ``forward``.

        The count lies in the student's process. Where points hang on it alone, let the fixture's
        value depend on how often it was called.
        """
        return self._value({"op": "calls", "handle": _handle(handle, "a callable")}, _is_count)

    def attribute(self, handle: Handle, name: str) -> Any:
        """An attribute of what a handle stands for, such as a method: ``answer.attribute(net, "encode")``.

        Args:
            handle: what a call, a fixture or this method returned.
            name: may be dotted, as ``"blocks.0.forward"``.

        Returns:
            Plain data, or a handle to a callable.
        """
        request = {"op": "attribute", "handle": _handle(handle, "a callable"), "name": name}
        return self._value(request, _is_anything)

    def module(self, handle: Handle) -> ModuleHandle:
        """The handle, with what can be asked of a module.

        Raises:
            AnswerError: it stands for something else than a ``torch.nn.Module``.
        """
        handle = _handle(handle, "a torch.nn.Module")
        self._value({"op": "module", "handle": handle}, _is_none)
        return ModuleHandle(handle.index, handle.kind, answer=self)

    def call(self, handle: Handle, *args: Any, **kwargs: Any) -> Any:
        """Call what a handle stands for and return the value."""
        return self.observe(_handle(handle, "a callable"), *args, **kwargs).value

    def observe(self, target: str | Handle, *args: Any, **kwargs: Any) -> Observation:
        """Call a graded name (or a handle) and report what the call did."""
        return self._call(target, args, kwargs, arguments=True)

    def without_grad(self, target: str | Handle, *args: Any, **kwargs: Any) -> Any:
        """Call under ``torch.no_grad()`` and return the value."""
        return self._call(target, args, kwargs, grad=False).value

    def gradient(
        self,
        target: str | Handle,
        *args: Any,
        wrt: Iterable[int | str],
        cotangent: torch.Tensor | list[torch.Tensor],
        parameters: Handle | None = None,
        **kwargs: Any,
    ) -> Observation:
        """Call, and differentiate ``sum(value * cotangent)``; nobody's ``.grad`` changes.

        Args:
            target: the graded name, or a handle.
            wrt: positions (int) or names (str) of the tensor arguments to differentiate by.
            cotangent: a tensor of the value's shape, or a list of one for each tensor of a returned tuple.
            parameters: the handle of a module (the target, or one among the arguments), to
                differentiate by its parameters as well.

        Returns:
            An Observation with one gradient for each entry of ``wrt`` and for each of the module's
            parameters, None where the value does not depend on it through a graph.
        """
        options = {} if parameters is None else {"parameters": _handle(parameters, "a torch.nn.Module")}
        return self._call(target, args, kwargs, wrt=list(wrt), cotangent=cotangent, **options)

    def _call(self, target: str | Handle, args: tuple[Any, ...], kwargs: dict[str, Any], **options: Any) -> Observation:
        target = target if isinstance(target, str) else _handle(target, "a callable")
        reply = self._request({"op": "call", "target": target, "args": list(args), "kwargs": kwargs, **options})
        arguments = reply.get("arguments", [[], {}])
        grads, by_name = reply.get("grads", []), reply.get("parameter_grads", {})
        if not (
            isinstance(arguments, list) and [type(part) for part in arguments] == [list, dict]
            and isinstance(grads, list) and len(grads) == len(options.get("wrt", ()))
            and isinstance(by_name, dict)
            and all(grad is None or isinstance(grad, torch.Tensor) for grad in (*grads, *by_name.values()))
        ):  # fmt: skip
            raise _malformed(reply)
        args_after, kwargs_after = arguments
        return Observation(
            reply["value"], args_after, kwargs_after, reply["requires_grad"] is True,
            reply["kept_requires_grad"] is True, reply["global_draws"] is True, grads, by_name,
        )  # fmt: skip

    def _value(self, request: Message, valid: Callable[[Any], TypeGuard[_T]]) -> _T:
        """The reply's value, if it is valid."""
        value = self._request(request)["value"]
        if not valid(value):
            raise _malformed(value)
        return value

    def _request(self, request: Message) -> Message:
        reply = self._ask(request)
        if isinstance(reply, dict) and isinstance(reply.get("missing"), str):
            raise AnswerError(f"`{reply['missing'][:200]}` is not defined", "missing")
        if isinstance(reply, dict) and isinstance(reply.get("wrong"), str):
            raise AnswerError(reply["wrong"][:500])
        if isinstance(reply, dict) and isinstance(reply.get("error"), dict):
            raise _raised(reply["error"])
        if isinstance(reply, dict) and isinstance(reply.get("ended"), str):
            raise ended(reply["ended"])
        keys = _CALL_KEYS if request["op"] == "call" else ("value",)
        if not isinstance(reply, dict) or any(key not in reply for key in keys):
            raise _malformed(reply)
        return reply


def _handle(value: object, expected: str) -> Handle:
    if not isinstance(value, Handle):
        raise AnswerError(f"returned {describe(value)}; {expected} was expected")
    return value


def _is_anything(value: object) -> TypeGuard[Any]:
    return True


def _is_handle(value: object) -> TypeGuard[Handle]:
    return isinstance(value, Handle)


def _is_none(value: object) -> TypeGuard[None]:
    return value is None


def _is_count(value: object) -> TypeGuard[int]:
    return type(value) is int and value >= 0


def _are_tensors(value: object) -> TypeGuard[dict[str, torch.Tensor]]:
    return isinstance(value, dict) and all(isinstance(tensor, torch.Tensor) for tensor in value.values())


def _malformed(reply: object) -> AnswerError:
    return AnswerError(f"gave a malformed answer: {describe(reply)}")


def ended(why: str) -> AnswerError:
    """What a driver says of a child that is gone ("status: sentence"), as an error."""
    status, _, sentence = why[:500].partition(": ")
    return AnswerError(sentence, status if status in ("timeout", "memory") else "error")


def _raised(error: dict[str, Any]) -> AnswerError:
    kind, message, where = (str(error.get(key, ""))[:500] for key in ("type", "message", "where"))
    if kind == "NotImplementedError":
        return AnswerError("is not implemented yet: replace the line that raises NotImplementedError", "missing")
    if kind == "ForbiddenImport":
        return AnswerError(message, "forbidden")
    if kind == "MemoryError" or "not enough memory" in message or "can't allocate memory" in message:
        return AnswerError("asked for more memory than a check may take", "memory")
    return AnswerError(f"raised {kind}: {message}" + (f" ({where})" if where else ""))


def local(session: Session) -> Answer:
    """An Answer for code in this process: requests and replies are copied as they would be by the wire."""

    def ask(request: Message) -> Any:
        try:
            return unpack(pack(session.answer(unpack(pack(request)))))
        except WireError as error:
            raise AnswerError(f"returned {error}") from None

    return Answer(ask)
