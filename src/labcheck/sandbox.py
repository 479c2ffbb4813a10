"""The warm process that runs student code: started behind walls, asked, ended, and started anew."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from labcheck.bubblewrap import (
    COURSE,
    ENVIRONMENT,
    behind_walls,
    package_folder,
    require_bubblewrap,
    system_call_filter,
)
from labcheck.inside.channel import Channel, Closed
from labcheck.inside.wire import CLOSE, OPEN, Message, WireError, pack, unpack

# Ended at once: Python's own end would tidy up, and so copy, a hundred megabytes.
_START = (
    "import gc, os, sys; gc.disable(); sys.path.insert(0, {0!r}); "
    "from labcheck.inside.driver import main; main(); os._exit(0)"
)
_IMPORT_SECONDS = 120.0  # importing torch from a cold disk
_MESSAGE_SECONDS = 30.0
_STOP_SECONDS = 5.0


class _NotNested(RuntimeError):
    """The system does not allow a process of the sandbox to make namespaces."""


class SandboxBroken(RuntimeError):
    """The process in the sandbox is gone or does not keep to the protocol."""


class Sandbox:
    """A warm driver behind walls, as a context manager; it serves one submission after the other.

    Where the system allows it (`own_namespaces`), each submission gets namespaces of its own in a fork of the
    driver, which imports torch once. Elsewhere each submission gets a sandbox of its own, and an import.

    Args:
        lab: the lab's name, for messages.
        fixtures: dotted name of the fixtures module, or None.
        forbidden: dotted names of modules that are left out of the sandbox.
        packages: names of the course's packages; of these, a copy without the forbidden modules
            is all that the sandbox sees.
        warm: dotted names of modules imported once, before any student code.
        walls: False runs the same driver as an ordinary process.
        nested: False does without namespaces in a fork, though they may be had.

    Raises:
        SandboxUnavailable: bubblewrap is missing, or the system does not allow its namespaces.
    """

    def __init__(
        self,
        lab: str,
        *,
        fixtures: str | None = None,
        forbidden: Sequence[str] = (),
        packages: Sequence[str] = (),
        warm: Sequence[str] = (),
        walls: bool = True,
        nested: bool = True,
    ) -> None:
        self.config: Message = {
            "lab": lab,
            "fixtures": fixtures,
            "forbidden": list(forbidden),
            "walls": ("own" if nested else "shared") if walls else "none",
            "warm": [name for name in warm if not _within(name, forbidden)],
        }
        self.packages = tuple(packages)
        self._stack = contextlib.ExitStack()
        self._used = self._opened = self._waiting = False

    @property
    def own_namespaces(self) -> bool:
        """Whether each submission is behind walls of its own in one warm driver."""
        return bool(self.config["walls"] == "own")

    @property
    def walls(self) -> bool:
        """Whether student code runs behind walls at all."""
        return bool(self.config["walls"] != "none")

    def __enter__(self) -> Self:
        if self.config["walls"] != "none":
            require_bubblewrap()
            self.config["filter"] = system_call_filter().hex()
        try:
            self._start()
        except _NotNested:
            self.config["walls"] = "shared"
            self._start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def open(self) -> None:
        """Begin a submission: nothing of an earlier one is left.

        Raises:
            SandboxBroken: it could not be begun.
        """
        self.close()
        if self._used and not self.own_namespaces and self.walls:
            self.restart()
        self._used = self._opened = True
        self.send(OPEN, _MESSAGE_SECONDS)

    def close(self) -> None:
        """End a submission that was begun, with everything that it has left.

        Raises:
            SandboxBroken: the driver does not read, or could not be started again.
        """
        if self._waiting:
            self.restart()  # a reply may still come, and would be taken for the next submission's
        elif self._opened:
            self._opened = False
            self.send(CLOSE, _MESSAGE_SECONDS)

    def restart(self) -> None:
        """Begin anew, whatever became of the driver.

        Raises:
            SandboxBroken: it did not start.
        """
        self._stack.close()
        self._start()

    def request(self, message: Message, seconds: float) -> Any:
        """Send a message and return the reply.

        Raises:
            SandboxBroken: no reply came within the given seconds.
            WireError: what came is no message; the sandbox itself is as good as before.
        """
        self._waiting = True
        self.send(pack(message), seconds)
        reply = self._receive(seconds)
        self._waiting = False
        return unpack(reply)

    def send(self, message: bytes, seconds: float) -> None:
        """Send a packed message that has no reply.

        Raises:
            SandboxBroken: the driver did not read it within the given seconds.
        """
        try:
            self.channel.send(message, seconds)
        except (Closed, TimeoutError) as error:
            raise SandboxBroken(str(error)) from None

    def _receive(self, seconds: float) -> bytes:
        try:
            return self.channel.receive(seconds)
        except (Closed, TimeoutError, WireError) as error:
            raise SandboxBroken(str(error)) from None

    def _start(self) -> None:
        self._used = self._opened = self._waiting = False
        with contextlib.ExitStack() as stack:  # leaves nothing behind should the start fail
            room = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="labcheck-")))
            room.chmod(0o755)
            _furnish(room, self.packages, self.config["forbidden"])
            ours, theirs = socket.socketpair()
            with theirs:
                self.process = subprocess.Popen(
                    self._command(room), stdin=theirs.fileno(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                    env=ENVIRONMENT, cwd="/", start_new_session=True,
                )  # fmt: skip
            self.channel = Channel(ours)
            stack.callback(self._stop)
            if self.request(self.config, _MESSAGE_SECONDS) != {"possible": True}:
                raise _NotNested
            if self._receive(_IMPORT_SECONDS) != pack({"ready": True}):
                raise SandboxBroken("the sandbox did not start")
            self._stack = stack.pop_all()

    def _stop(self) -> None:
        self.channel.close()
        try:
            self.process.wait(_STOP_SECONDS)  # so that its processor time is counted as a child's
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _command(self, room: Path) -> list[str]:
        if self.config["walls"] == "none":
            return [sys.executable, "-I", "-c", _START.format(str(room))]
        python = behind_walls(room, self.packages, innermost=self.config["walls"] == "shared")
        return [*python, "-I", "-c", _START.format(COURSE)]


def _furnish(room: Path, packages: Sequence[str], forbidden: Sequence[str]) -> None:
    """Copy what a sandbox may see: our inner half, and the course's packages without forbidden modules."""
    inner = room / "labcheck"
    shutil.copytree(
        package_folder("labcheck") / "inside", inner / "inside", ignore=shutil.ignore_patterns("__pycache__")
    )
    (inner / "__init__.py").touch()
    for package in packages:
        source = package_folder(package)
        for path in sorted(source.rglob("*")):
            module = ".".join((package, *path.relative_to(source).with_suffix("").parts))
            if path.is_file() and "__pycache__" not in path.parts and not _within(module, forbidden):
                target = room / package / path.relative_to(source)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)


def _within(module: str, names: Sequence[str]) -> bool:
    return any(module == name or module.startswith(name + ".") for name in names)
