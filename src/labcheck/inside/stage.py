"""The two kinds of process that run student code: a stage, which has loaded the cells, and a check, a fork of it."""

from __future__ import annotations

import gc
import os
import random
import socket
from typing import Any

import numpy as np
import torch

from labcheck.inside import walls
from labcheck.inside.channel import Channel
from labcheck.inside.limits import Watch, limit_process
from labcheck.inside.loading import Cell, run
from labcheck.inside.session import Session
from labcheck.inside.wire import Message, pack, unpack

_FOREVER = 24 * 3600.0  # the keeper decides how long to wait


def be_stage(channel: Channel, config: Message, watch: Watch | None, submission: Message) -> None:
    """Load the student's cells, then fork a process for each check."""
    _become_student(channel, config, watch, submission)
    seed_all(submission["seed"])
    namespace: dict[str, Any] = {"__name__": "__main__", "__builtins__": __builtins__}
    problems = []
    cells = [Cell(*fields) for fields in submission["cells"]]

    def tell(cell: Cell) -> None:
        channel.send(pack({"loading": cell.name}), _FOREVER)

    for problem in run(cells, namespace, submission["tasks"], tell):
        problems.append([problem.cell, problem.line, problem.message])
    gc.freeze()
    os.chdir("/")  # every check has a /tmp of its own
    channel.send(pack({"loaded": problems}), _FOREVER)
    while True:
        request, descriptor = channel.take(_FOREVER)
        pid = os.fork()
        if pid == 0:
            channel.close()
            _be_check(Channel(socket.socket(fileno=descriptor)), config, namespace, unpack(request)["seed"])
        os.close(descriptor)
        number, seconds = ended(pid)
        channel.send(pack({"signal": number, "seconds": seconds}), _FOREVER)


def _be_check(channel: Channel, config: Message, namespace: dict[str, Any], seed: int) -> None:
    """Answer requests until the keeper closes the channel."""
    try:
        if config["walls"] != "none":
            os.chdir("/tmp")
        seed_all(seed)
        session = Session(namespace, config["fixtures"])
        while True:
            channel.send(pack(session.answer(unpack(channel.receive(_FOREVER)))), _FOREVER)
    finally:
        os._exit(0)


def _become_student(channel: Channel, config: Message, watch: Watch | None, submission: Message) -> None:
    """Close what belongs to the keeper, and give up what student code must not have."""
    if watch:
        watch.offer_to_the_kernel()
    kept = channel.sock.fileno()
    os.closerange(3, kept)
    os.closerange(kept + 1, os.sysconf("SC_OPEN_MAX"))
    os.setsid()
    limit_process(submission["seconds"], watch.size + submission["memory"] if watch else None)
    if config["walls"] != "none":
        os.chdir("/tmp")
        walls.give_up(config["filter"])


def seed_all(seed: int) -> None:
    """Seed the global generators of Python, numpy and torch."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def ended(pid: int) -> tuple[int, float]:
    """The signal that ended a child, or 0, and its processor seconds."""
    try:
        _, status, used = os.wait4(pid, 0)
    except ChildProcessError:
        return 0, 0.0
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0, used.ru_utime + used.ru_stime
