"""A submission in a sandbox, step by step as the judge takes it there."""

import contextlib
import struct
import time

import psutil

from labcheck.answer import Answer, AnswerError
from labcheck.inside.wire import END, pack

LAB = "lab01_numbers"
SECONDS = 60  # that a test waits for a reply
LIMITS = {"seconds": 5.0, "patience": 20.0, "memory": 2**30, "processes": 32}


class Submission:
    """Cells that are loaded in a sandbox, as a context manager.

    Args:
        sandbox: an entered one.
        source: of the one cell ``f``, or rows of (name, source, whether it holds an answer).
        limits: other ones than `LIMITS`.
    """

    def __init__(self, sandbox, source, **limits):
        self.sandbox = sandbox
        self.cells = [["f", source, True]] if isinstance(source, str) else source
        self.limits = LIMITS | limits
        self.loaded = None  # what the keeper tells of loading them

    def __enter__(self):
        self.sandbox.open()
        load = {"op": "load", "cells": self.cells, "tasks": ["f"], "seed": 1, **self.limits}
        self.loaded = self.sandbox.request(load, SECONDS)
        return self

    def __exit__(self, *exception):
        self.sandbox.close()

    def ask(self, request):
        return self.sandbox.request(request, SECONDS)

    @contextlib.contextmanager
    def check(self):
        """An Answer, in a process of its own until the block ends."""
        begin = {"op": "begin", "seed": 2, "patience": self.limits["patience"]}
        self.sandbox.send(pack(begin), 5)
        try:
            yield Answer(self.ask)
        finally:
            self.sandbox.send(END, 5)

    def run(self, call=lambda answer: answer.f()):
        """What ``call(answer)`` makes of one check, or the AnswerError that it raises."""
        with self.check() as answer:
            try:
                return call(answer)
            except AnswerError as error:
                return error

    def start(self, name: str) -> None:
        """Begin a check that calls a function, and do not wait for it."""
        self.sandbox.send(pack({"op": "begin", "seed": 2, "patience": self.limits["patience"]}), 5)
        self.sandbox.send(pack({"op": "call", "target": name, "args": [], "kwargs": {}}), 5)


def run(sandbox, source, call=lambda answer: answer.f(), **limits):
    """One check of a submission of its own: its result, or the AnswerError that it raises."""
    with Submission(sandbox, source, **limits) as submission:
        return submission.run(call)


def framed(message: bytes) -> bytes:
    """A message as it stands on the wire."""
    return struct.pack("!Q", len(message)) + message


def told(error) -> tuple[str, str]:
    """The status and the message of an AnswerError."""
    assert isinstance(error, AnswerError), error
    return error.status, str(error)


def descendants(sandbox) -> set:
    """All processes of a sandbox, seen from outside."""
    return set(psutil.Process(sandbox.process.pid).children(recursive=True))


def idle(sandbox) -> set:
    """All processes of a sandbox that serves no submission: what was closed takes a moment to vanish."""
    sandbox.close()
    wait_for(lambda: len(descendants(sandbox)) <= 2)  # bubblewrap's own first process, and the driver
    return descendants(sandbox)


def wait_for(condition, seconds=20.0) -> None:
    """Return once a condition holds; fail if it does not within the given seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to hold"
        time.sleep(0.02)
