"""The process in the sandbox: imports torch once, then forks one child for each check.

The parent runs no student code. It passes messages between the judge and the child, and ends the
child with everything that it has started when the check is over, late, or too talkative. The
child loads the student's cells and answers requests (`labcheck.inside.session`).
"""

from __future__ import annotations

import contextlib
import importlib
import math
import os
import resource
import signal
import socket
import sys
import time

from labcheck.inside.channel import Channel, Closed
from labcheck.inside.loading import Cell, run
from labcheck.inside.wire import WireError, pack, unpack

_PATIENCE = 24 * 3600.0  # the judge may take as long as it likes between two messages
_OPEN_FILES = 256
_FILE_BYTES = 64 * 2**20


class ForbiddenImport(ImportError):
    """A module that cannot be imported while this lab is graded."""


class _Refuse:
    """An import hook that names the forbidden module, where a plain import error would puzzle."""

    def __init__(self, forbidden, lab):
        self.forbidden = forbidden
        self.lab = lab

    def find_spec(self, name, path=None, target=None):
        if any(name == module or name.startswith(module + ".") for module in self.forbidden):
            raise ForbiddenImport(f"imports {name}, which is not available while {self.lab} is graded", name=name)
        return None


def main() -> None:
    """Serve the judge on the socket that is file descriptor 0 until it closes."""
    judge = Channel(socket.socket(fileno=os.dup(0)))
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    config = unpack(judge.receive(_PATIENCE))
    _warm(config)
    judge.send(pack({"ready": True}), _PATIENCE)
    with contextlib.suppress(Closed):
        while True:
            request = judge.receive(_PATIENCE)
            message = unpack(request)
            if message["op"] == "begin":
                _serve_check(judge, config, message)


def _warm(config) -> None:
    """Import what every submission needs, once."""
    import torch

    torch.set_num_threads(1)  # a fork keeps only the thread that forks
    x = torch.ones(1, requires_grad=True)
    torch.autograd.grad(x * x, x, torch.ones(1))  # the first gradient imports for a second what no child should
    for name in [*config["warm"], *([config["fixtures"]] if config["fixtures"] else [])]:
        with contextlib.suppress(Exception):  # a notebook may import what only its own machine has
            importlib.import_module(name)
    sys.meta_path.insert(0, _Refuse(config["forbidden"], config["lab"]))


def _serve_check(judge: Channel, config, begin) -> None:
    """Fork, pass messages both ways until the judge ends the check or the child does, and clean up."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        try:
            ours.close()
            judge.close()
            _child(Channel(theirs), config, begin)
        finally:
            os._exit(0)
    theirs.close()
    child = Channel(ours)
    try:
        _await_loading(judge, child, begin["patience"], pid)
        while True:
            request = judge.receive(_PATIENCE)
            if unpack(request)["op"] == "end":
                return
            judge.send(_exchange(child, request, begin["patience"], pid), _PATIENCE)
    finally:
        child.close()
        _end(pid, config["walls"])


def _await_loading(judge, child, seconds, pid):
    """Wait until the child has loaded the cells; tell the judge, with the cell at which it ended if it did."""
    cell = ""
    while True:
        reply = _receive(child, seconds, pid)
        if "loading" in reply:
            cell = str(reply["loading"])
            continue
        if "ended" in reply:
            reply["cell"] = cell
        judge.send(pack(reply), _PATIENCE)
        return


def _receive(child, seconds, pid) -> dict:
    try:
        reply = unpack(child.receive(seconds))
    except (Closed, TimeoutError, WireError) as error:
        return {"ended": _why(error, pid)}
    return reply if isinstance(reply, dict) else {"ended": "error: it sent no answer"}


def _exchange(child, request, seconds, pid) -> bytes:
    try:
        child.send(request, seconds)
        return child.receive(seconds)
    except (Closed, TimeoutError, WireError) as error:
        return pack({"ended": _why(error, pid)})


def _why(error, pid) -> str:
    """What ended a child, as "status: sentence"."""
    if isinstance(error, TimeoutError):
        return "timeout: did not finish in time"
    if isinstance(error, WireError):
        return f"error: {error}"
    ended, status = os.waitpid(pid, os.WNOHANG)
    for _ in range(100):  # it closed its socket, and may take a moment to end
        if ended:
            break
        time.sleep(0.01)
        ended, status = os.waitpid(pid, os.WNOHANG)
    if ended and os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number == signal.SIGXCPU:
            return "timeout: used up its processor time"
        return f"error: ended the process (signal {signal.Signals(number).name})"
    return "error: ended the process"


def _end(pid, own_namespace) -> None:
    """Kill the child and, where processes have a namespace of their own, all that it left running there."""
    for victim in (pid, -1) if own_namespace else (pid,):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(victim, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)


def _child(channel: Channel, config, begin) -> None:
    """Load the student's cells, then answer requests until the parent is done with this check."""
    from labcheck.inside.session import Session

    _limit(begin)
    _seed(begin["seed"])
    namespace = {"__name__": "__main__", "__builtins__": __builtins__}
    problems = []
    cells = [Cell(*fields) for fields in begin["cells"]]
    for problem in run(cells, namespace, lambda cell: channel.send(pack({"loading": cell.name}), _PATIENCE)):
        problems.append([problem.cell, problem.line, problem.message])
    channel.send(pack({"loaded": problems}), _PATIENCE)
    session = Session(namespace, config["fixtures"])
    while True:
        channel.send(pack(session.answer(unpack(channel.receive(_PATIENCE)))), _PATIENCE)


def _limit(begin) -> None:
    seconds = math.ceil(begin["seconds"])
    with open("/proc/self/statm") as statm:
        size = int(statm.read().split()[0]) * resource.getpagesize()
    memory = size + begin["memory"]
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))  # a signal that has a name, then the end
    for name, value in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, _FILE_BYTES),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(name, (value, value))


def _seed(seed: int) -> None:
    import random

    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
