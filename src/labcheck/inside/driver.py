"""The process in the sandbox: imports torch once, then forks for each submission and again for each check.

Four kinds of process, of which the last two run student code:

- the *driver* imports what all submissions need. It never reads a submission, so no fork of it
  holds another student's work.
- the *keeper* (`labcheck.inside.keeper`) of a submission, first process of that submission's own
  namespaces, talks to the judge, watches the limits, and kills what is late, too large or left over.
- the *stage* (`labcheck.inside.stage`) has loaded the student's cells, and waits.
- a *check* is a fork of the stage: one hang, exit, fault or bomb costs this check alone.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal
import socket
import sys
import types
from collections.abc import Sequence

import torch

from labcheck.inside import walls
from labcheck.inside.channel import Channel, Closed
from labcheck.inside.keeper import keep
from labcheck.inside.memory import use_huge_pages
from labcheck.inside.session import Session
from labcheck.inside.stage import seed_all
from labcheck.inside.wire import OPEN, Message, pack, unpack

_FOREVER = 24 * 3600.0  # the judge may take as long as it likes between two messages


class ForbiddenImport(ImportError):
    """A module that cannot be imported while this lab is graded."""


class _Refuse:
    """An import hook that names the forbidden module, where a plain import error would puzzle."""

    def __init__(self, forbidden: list[str], lab: str) -> None:
        self.forbidden = forbidden
        self.lab = lab

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None) -> None:
        if any(name == module or name.startswith(module + ".") for module in self.forbidden):
            raise ForbiddenImport(f"imports {name}, which is not available while {self.lab} is graded", name=name)
        return None


def main() -> None:
    """Serve the judge on the socket that is file descriptor 0 until it closes."""
    judge = Channel(socket.socket(fileno=os.dup(0)))
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # the first process of a namespace ignores what it does not handle
    config = unpack(judge.receive(_FOREVER))
    config["filter"] = bytes.fromhex(config.get("filter", ""))
    possible = config["walls"] != "own" or walls.possible(config["filter"])
    judge.send(pack({"possible": possible}), _FOREVER)
    _warm(config)
    judge.send(pack({"ready": True}), _FOREVER)
    with contextlib.suppress(Closed):
        while judge.receive(_FOREVER) == OPEN:
            if config["walls"] == "own":
                walls.in_namespaces(lambda: keep(judge, config))
            else:
                keep(judge, config)


def _warm(config: Message) -> None:
    """Import what every submission needs, once, and go once through what every check does."""
    torch.set_num_threads(1)  # a fork keeps only the thread that forks
    for name in [*config["warm"], *([config["fixtures"]] if config["fixtures"] else [])]:
        with contextlib.suppress(Exception):  # a notebook may import what only its own machine has
            importlib.import_module(name)
    seed_all(0)
    x = torch.ones(3, 2)
    request = {"op": "call", "target": "sum", "args": [x], "kwargs": {}, "wrt": [0], "cotangent": torch.ones(())}
    pack(Session({"sum": torch.sum}).answer(unpack(pack(request))))
    sys.meta_path.insert(0, _Refuse(config["forbidden"], config["lab"]))
    gc.enable()  # it was off from the start, which spares a fifth of the time of all these imports
    gc.collect()
    gc.freeze()  # or the collector of every fork would write to, and so copy, all of this
    with contextlib.suppress(OSError):  # no /proc on this system
        use_huge_pages()
