"""The walls around student code: bubblewrap, with nothing inside that helps to cheat."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from labcheck.inside.channel import Channel, Closed
from labcheck.inside.wire import WireError, pack, unpack

_START = "import sys; sys.path.insert(0, {0!r}); from labcheck.inside.driver import main; main()"
_IMPORT_SECONDS = 120.0  # importing torch from a cold disk
_TMP_BYTES = 64 * 2**20
_COURSE = "/course"
_SEALED = ["--remount-ro", "/", "--remount-ro", "/dev"]  # once all is mounted: both are in memory, without a cap
_ENVIRONMENT = {
    "HOME": "/tmp", "TMPDIR": "/tmp", "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "MPLBACKEND": "agg",
    "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "",
    "PYTHONDONTWRITEBYTECODE": "1",
}  # fmt: skip


class SandboxUnavailable(RuntimeError):
    """No sandbox can be had on this machine; the message says what to do."""


class SandboxBroken(RuntimeError):
    """The process in the sandbox is gone or does not keep to the protocol."""


class Sandbox:
    """One sandboxed driver, as a context manager.

    Args:
        lab: the lab's name, for messages.
        fixtures: dotted name of the fixtures module, or None.
        forbidden: dotted names of modules that are left out of the sandbox.
        packages: names of the course's packages; of these, a copy without the forbidden modules
            is all that the sandbox sees.
        warm: dotted names of modules imported once, before any student code.
        walls: False runs the same driver as an ordinary process.

    Raises:
        SandboxUnavailable: bubblewrap is missing, or the system does not allow its namespaces.
    """

    def __init__(self, lab, *, fixtures=None, forbidden=(), packages=(), warm=(), walls=True):
        self.config = {
            "lab": lab,
            "fixtures": fixtures,
            "forbidden": list(forbidden),
            "walls": walls,
            "warm": [name for name in warm if not _within(name, forbidden)],
        }
        self.packages = tuple(packages)
        self.walls = walls
        self._stack = contextlib.ExitStack()

    def __enter__(self):
        if self.walls:
            require_bubblewrap()
        with contextlib.ExitStack() as stack:  # leaves nothing behind should the start fail
            room = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="labcheck-")))
            room.chmod(0o755)
            _furnish(room, self.packages, self.config["forbidden"])
            ours, theirs = socket.socketpair()
            with theirs:
                self.process = subprocess.Popen(
                    self._command(room), stdin=theirs, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                    env=_ENVIRONMENT, cwd="/", start_new_session=True,
                )  # fmt: skip
            self.channel = Channel(ours)
            stack.callback(self._stop)
            if self.request(self.config, _IMPORT_SECONDS) != {"ready": True}:
                raise SandboxBroken("the sandbox did not start")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception):
        self._stack.close()

    def request(self, message: dict, seconds: float):
        """Send a message and return the reply.

        Raises:
            SandboxBroken: no well-formed reply came within the given seconds.
        """
        self.send(message, seconds)
        try:
            return unpack(self.channel.receive(seconds))
        except (Closed, TimeoutError, WireError) as error:
            raise SandboxBroken(str(error)) from None

    def send(self, message: dict, seconds: float) -> None:
        """Send a message that has no reply.

        Raises:
            SandboxBroken: the driver did not read it within the given seconds.
        """
        try:
            self.channel.send(pack(message), seconds)
        except (Closed, TimeoutError) as error:
            raise SandboxBroken(str(error)) from None

    def _stop(self):
        self.channel.close()
        self.process.kill()
        self.process.wait()

    def _command(self, room: Path) -> list[str]:
        if not self.walls:
            return [sys.executable, "-I", "-c", _START.format(str(room))]
        return [
            *bubblewrap(), *_read_only_system(), *_masks(self.packages), "--ro-bind", str(room), _COURSE, *_SEALED,
            sys.executable, "-I", "-c", _START.format(_COURSE),
        ]  # fmt: skip


def bubblewrap() -> list[str]:
    """The walls: own namespaces, no network, no capabilities, an empty environment, a small private /tmp."""
    environment = [word for name, value in _ENVIRONMENT.items() for word in ("--setenv", name, value)]
    return [
        "bwrap", "--unshare-all", "--unshare-user", "--disable-userns", "--uid", "65534", "--gid", "65534",
        "--hostname", "sandbox", "--cap-drop", "ALL", "--new-session", "--die-with-parent", "--clearenv", *environment,
        "--proc", "/proc", "--dev", "/dev", "--size", str(_TMP_BYTES), "--tmpfs", "/dev/shm",
        "--size", str(_TMP_BYTES), "--tmpfs", "/tmp", "--chdir", "/tmp",
    ]  # fmt: skip


def require_bubblewrap() -> None:
    """Return where a sandbox can be made.

    Raises:
        SandboxUnavailable: with one line that says what to do.
    """
    advice = "or ask for --no-sandbox, which lets submissions read and change this machine"
    if shutil.which("bwrap") is None:
        raise SandboxUnavailable(f"bubblewrap is not installed: install it (apt install bubblewrap), {advice}")
    probe = [*bubblewrap(), *_read_only_system(), *_SEALED, "/usr/bin/true"]
    result = subprocess.run(probe, capture_output=True, text=True)
    if result.returncode != 0:
        why = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise SandboxUnavailable(f"bubblewrap cannot make a sandbox here ({why}): allow user namespaces, {advice}")


def _read_only_system() -> list[str]:
    """Mounts of the system's libraries and of this Python, and of nothing else."""
    mounts = []
    for path in ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/alternatives"):
        if os.path.islink(path):
            mounts += ["--symlink", os.readlink(path), path]
        elif os.path.exists(path):
            mounts += ["--ro-bind", path, path]
    for prefix in dict.fromkeys((sys.base_prefix, sys.prefix)):
        if not Path(prefix).is_relative_to("/usr"):
            mounts += ["--ro-bind", prefix, prefix]
    return mounts


def _masks(packages) -> list[str]:
    """Empty folders over installed copies of the course's own packages."""
    masks = []
    for package in ("labcheck", *packages):
        folder = _folder(package)
        if any(folder.is_relative_to(prefix) for prefix in (sys.prefix, sys.base_prefix, "/usr")):
            masks += ["--tmpfs", str(folder)]
    return masks


def _furnish(room: Path, packages, forbidden) -> None:
    """Copy what a sandbox may see: our inner half, and the course's packages without forbidden modules."""
    inner = room / "labcheck"
    shutil.copytree(_folder("labcheck") / "inside", inner / "inside", ignore=shutil.ignore_patterns("__pycache__"))
    (inner / "__init__.py").touch()
    for package in packages:
        source = _folder(package)
        for path in sorted(source.rglob("*")):
            module = ".".join((package, *path.relative_to(source).with_suffix("").parts))
            if path.is_file() and "__pycache__" not in path.parts and not _within(module, forbidden):
                target = room / package / path.relative_to(source)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)


def _folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"the course's package {package!r} is not installed")
    return Path(next(iter(spec.submodule_search_locations))).resolve()


def _within(module: str, names) -> bool:
    return any(module == name or module.startswith(name + ".") for name in names)
