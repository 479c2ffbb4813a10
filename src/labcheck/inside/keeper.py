"""The keeper of a submission: talks to the judge, watches the limits, kills what is late, too large or left over."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time

from labcheck.inside import walls
from labcheck.inside.channel import Channel, Closed
from labcheck.inside.limits import Exceeded, Watch
from labcheck.inside.stage import be_stage, ended
from labcheck.inside.wire import CLOSE, END, Message, WireError, pack, unpack

_FOREVER = 24 * 3600.0  # the judge may take as long as it likes between two messages
_GRACE = 2.0  # seconds for a check that is over to be gone
_PROBLEMS = 100  # that are passed on
_NAME = 200  # characters of a cell's name


def keep(judge: Channel, config: Message) -> None:
    """Serve one submission: load its cells, run its checks, until the judge closes it."""
    stage = _Stage(config)
    if config["walls"] != "none":
        walls.adopt()  # else what was killed would be counted until its end
    if config["walls"] == "own":
        walls.hide_processes()
    try:
        while (request := judge.receive(_FOREVER, stage.look)) != CLOSE:
            message = unpack(request)
            if message["op"] == "load":
                judge.send(pack(stage.load(message)), _FOREVER)
            elif _serve_check(judge, stage, message) == CLOSE:
                break
    finally:
        stage.kill()


def _serve_check(judge: Channel, stage: _Stage, message: Message) -> bytes:
    """Pass messages both ways until the judge ends the check, or the submission; the message that did."""
    stage.begin(message)
    while (request := judge.receive(_FOREVER, stage.look)) not in (END, CLOSE):
        judge.send(stage.exchange(request), _FOREVER)
    stage.end()
    return request


class _Stage:
    """The keeper's view of the process that has loaded the student's cells, and of the check that it forked.

    Both run student code: what they send is taken for a message to the student at most, and they may lie, stop
    or flood at any point.
    """

    def __init__(self, config: Message) -> None:
        self.config = config
        self.watch = Watch() if config["walls"] != "none" else None
        self.submission: Message = {}
        self.pid: int | None = None
        self.channel: Channel | None = None  # to the stage, while there is one
        self.check: Channel | None = None
        self.ended = ""  # why the check cannot go on
        self.left = 0.0  # seconds of waiting for it

    def load(self, submission: Message) -> Message:
        """Start the process and let it load the cells; what to tell the judge, with the cell at which it ended."""
        self.kill()
        self.submission = submission
        if self.watch:
            self.watch.limits = {name: submission[name] for name in ("memory", "processes")}
        ours, theirs = socket.socketpair()
        if (pid := os.fork()) == 0:
            try:
                be_stage(Channel(theirs), self.config, self.watch, submission)
            finally:
                os._exit(0)
        theirs.close()
        self.pid, self.channel = pid, Channel(ours)
        cell = ""
        for _ in range(len(submission["cells"]) + 1):
            try:
                reply = unpack(self.channel.receive(submission["patience"], self.watch))
            except (Closed, TimeoutError, WireError, Exceeded) as error:
                why = self._why(error)
                self.kill()
                return {"ended": why, "cell": cell}
            reply = reply if isinstance(reply, dict) else {}
            if isinstance(reply.get("loaded"), list):
                self._fresh_files()
                return {"loaded": [row for row in reply["loaded"][:_PROBLEMS] if _is_problem(row)]}
            cell = reply["loading"][:_NAME] if isinstance(reply.get("loading"), str) else cell
        self.kill()
        return {"ended": "error: it sent no answer", "cell": cell}

    def begin(self, message: Message) -> None:
        """Let the stage fork a check's process."""
        self.ended, self.left = "", message["patience"]
        for _ in range(2):  # the stage itself may have come to its end since its last check
            if self.pid is None and "ended" in (reply := self.load(self.submission)):
                self.ended = reply["ended"]
                return
            assert self.channel is not None
            ours, theirs = socket.socketpair()
            with theirs:
                try:
                    self.channel.hand(pack({"seed": message["seed"]}), theirs.fileno(), _GRACE)
                    self.check = Channel(ours)
                    return
                except (Closed, TimeoutError):
                    ours.close()
                    self.kill()
        self.ended = "error: ended the process"

    def exchange(self, request: bytes) -> bytes:
        """The check's reply to a request, or what ended it."""
        if self.check is None:
            return pack({"ended": self.ended or "error: ended the process"})
        start = time.monotonic()
        try:
            self.check.send(request, self.left, self.watch)
            reply = self.check.receive(self.left - (time.monotonic() - start), self.watch)
            self.left -= time.monotonic() - start
            return reply
        except (Closed, TimeoutError, WireError, Exceeded) as error:
            self.ended = self._why(error)
            if not isinstance(error, Closed):
                self.kill()
            self._leave_check()
            return pack({"ended": self.ended})

    def end(self) -> None:
        """Have the check gone, with everything that it started; else have all gone."""
        if self.check is not None:
            self._leave_check()
            self._last_words()
        if self.pid is None:
            return
        _reap(os.WNOHANG)
        if (self.watch and len(self.watch.own()) > 1) or self._fresh_files():
            self.kill()

    def look(self) -> None:
        """Kill what exceeds a limit while the judge thinks; the next exchange tells of it."""
        if self.watch and self.pid is not None:
            try:
                self.watch()
            except Exceeded as error:
                self.ended = str(error)
                self.kill()

    def kill(self) -> None:
        """Kill the stage and all that it started, where processes have a namespace of their own."""
        if self.pid is None or self.channel is None:
            return
        self._end_processes()
        _reap()
        self._leave_check()
        self.channel.close()
        self.pid, self.channel = None, None

    def _end_processes(self) -> None:
        assert self.pid is not None
        targets = (-self.pid, self.pid) if self.config["walls"] == "none" else (-1,)
        for target in targets:  # a stage that is only just there leads no group yet
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(target, signal.SIGKILL)

    def _fresh_files(self) -> bool:
        """Empty /tmp where it is the submission's own; whether something of it is still held."""
        return bool(self.config["walls"] == "own") and walls.fresh_files()

    def _leave_check(self) -> None:
        if self.check is not None:
            self.check.close()
            self.check = None

    def _why(self, error: Exception) -> str:
        """What ended a process, as "status: sentence"."""
        if isinstance(error, Exceeded):
            return str(error)
        if isinstance(error, TimeoutError):
            return "timeout: did not finish in time"
        if isinstance(error, WireError):
            return f"error: {error}"
        number, seconds = self._last_words()
        if number == signal.SIGXCPU or (number == signal.SIGKILL and seconds >= self.submission["seconds"]):
            return "timeout: used up its processor time"
        return "error: ended the process" + (f" (signal {signal.Signals(number).name})" if number else "")

    def _last_words(self) -> tuple[int, float]:
        """The signal that ended the check's process and its processor seconds, by the stage's word, or the stage's.

        The stage runs student code, so this decides about a message and nothing else.
        """
        assert self.pid is not None and self.channel is not None
        try:
            reply = unpack(self.channel.receive(_GRACE, self.watch))
        except (Closed, TimeoutError, WireError, Exceeded):
            self._end_processes()  # one that is about to end keeps its own signal
            words = ended(self.pid)
            self.kill()
            return words
        number, seconds = (reply.get(key) if isinstance(reply, dict) else None for key in ("signal", "seconds"))
        if isinstance(number, int) and number in list(signal.Signals) and isinstance(seconds, float):
            return number, seconds
        return 0, 0.0


def _is_problem(row: object) -> bool:
    """Whether this is a cell's name, a line and a message."""
    return isinstance(row, list) and [type(part) for part in row] == [str, int, str]


def _reap(options: int = 0) -> None:
    """Take leave of processes that have ended, or wait for all."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, options)[0]:
            pass
