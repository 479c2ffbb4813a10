"""The student's namespace as a check sees it, wherever the student's code runs."""

from __future__ import annotations

from dataclasses import dataclass, field

from labcheck.expect import CheckFailed, describe
from labcheck.inside.wire import Handle, WireError, pack, unpack

_CALL_KEYS = ("value", "requires_grad", "kept_requires_grad", "global_draws")


class AnswerError(CheckFailed):
    """The student's code raised, or there was nothing to call.

    Attributes:
        status: "error", "timeout", "memory", "missing" or "forbidden".
    """

    def __init__(self, message: str, status: str = "error"):
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
    """

    value: object
    args: list = field(default_factory=list)
    kwargs: dict = field(default_factory=dict)
    requires_grad: bool = False
    kept_requires_grad: bool = True
    global_draws: bool = False
    grads: list = field(default_factory=list)


class Answer:
    """Calls the student's functions: ``answer.euler_step(f, x, t, dt)``.

    Arguments and results cross as plain data; callables are fixtures, made on the student's side.

    Args:
        ask: sends a request (a dict of plain data) and returns the reply, as
            `labcheck.inside.session.Session.answer` does.
    """

    def __init__(self, ask):
        self._ask = ask

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)

        def call(*args, **kwargs):
            return self.observe(name, *args, **kwargs).value

        return call

    def fixture(self, name: str, **kwargs) -> Handle:
        """Make one of the battery's named public fixtures on the student's side, to be passed as an argument."""
        return self._request({"op": "fixture", "name": name, "kwargs": kwargs})["value"]

    def calls(self, fixture: Handle) -> int:
        """How often a fixture has been called."""
        return self._request({"op": "calls", "handle": fixture})["value"]

    def observe(self, target, *args, **kwargs) -> Observation:
        """Call a graded name (or a handle that a call returned) and report what the call did."""
        return self._call(target, args, kwargs, arguments=True)

    def without_grad(self, target, *args, **kwargs):
        """Call under ``torch.no_grad()`` and return the value."""
        return self._call(target, args, kwargs, grad=False).value

    def gradient(self, target, *args, wrt, cotangent, **kwargs) -> Observation:
        """Call, and differentiate ``sum(value * cotangent)``.

        Args:
            target: the graded name.
            wrt: positions (int) or names (str) of the tensor arguments to differentiate by.
            cotangent: a tensor of the value's shape, or a list of one for each tensor of a returned tuple.

        Returns:
            An Observation with one gradient for each entry of ``wrt``, None where the value does
            not depend on that argument through a graph.
        """
        return self._call(target, args, kwargs, wrt=list(wrt), cotangent=cotangent)

    def _call(self, target, args, kwargs, **options) -> Observation:
        request = {"op": "call", "target": target, "args": list(args), "kwargs": kwargs, **options}
        reply = self._request(request)
        after_args, after_kwargs = reply.get("arguments", ([], {}))
        return Observation(
            reply["value"], after_args, after_kwargs, reply["requires_grad"] is True,
            reply["kept_requires_grad"] is True, reply["global_draws"] is True, reply.get("grads", []),
        )  # fmt: skip

    def _request(self, request):
        reply = self._ask(request)
        if isinstance(reply, dict) and isinstance(reply.get("missing"), str):
            raise AnswerError(f"`{reply['missing']}` is not defined", "missing")
        if isinstance(reply, dict) and isinstance(reply.get("error"), dict):
            raise _raised(reply["error"])
        if isinstance(reply, dict) and isinstance(reply.get("ended"), str):
            raise ended(reply["ended"])
        keys = _CALL_KEYS if request["op"] == "call" else ("value",)
        if not isinstance(reply, dict) or any(key not in reply for key in keys):
            raise AnswerError(f"the answer is malformed: {describe(reply)}")
        return reply


def ended(why: str) -> AnswerError:
    """What a driver says of a child that is gone ("status: sentence"), as an error."""
    status, _, sentence = why[:500].partition(": ")
    return AnswerError(sentence, status if status in ("timeout", "memory") else "error")


def _raised(error: dict) -> AnswerError:
    kind, message, where = (str(error.get(key, ""))[:500] for key in ("type", "message", "where"))
    if kind == "NotImplementedError":
        return AnswerError("is not implemented yet: replace the line that raises NotImplementedError", "missing")
    if kind == "ForbiddenImport":
        return AnswerError(message, "forbidden")
    if kind == "MemoryError" or "not enough memory" in message or "can't allocate memory" in message:
        return AnswerError("asked for more memory than a check may take", "memory")
    return AnswerError(f"raised {kind}: {message}" + (f" ({where})" if where else ""))


def local(session) -> Answer:
    """An Answer for code in this process: requests and replies are copied as they would be by the wire."""

    def ask(request):
        try:
            return unpack(pack(session.answer(unpack(pack(request)))))
        except WireError as error:
            raise AnswerError(f"returned {error}") from None

    return Answer(ask)
