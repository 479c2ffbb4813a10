"""The walls around student code: bubblewrap, with nothing inside that helps to cheat."""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

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
_TMP_BYTES = 64 * 2**20
_COURSE = "/course"
_PYTHON = "/python"  # where the environment is mounted: its own place may be below /tmp, which is covered
_SEALED = [  # once all is mounted: these are in memory, without a cap
    word for folder in ("/", "/dev", "/dev/pts") for word in ("--remount-ro", folder)
]
_ENVIRONMENT = {
    "HOME": "/tmp", "TMPDIR": "/tmp", "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "MPLBACKEND": "agg",
    "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "",
    "PYTHONDONTWRITEBYTECODE": "1",
}  # fmt: skip

_REFUSED_CALLS = (
    # namespaces and mounts; the driver has set them up
    "unshare", "setns", "mount", "umount2", "pivot_root", "chroot", "move_mount", "open_tree", "mount_setattr",
    "fsopen", "fsconfig", "fsmount", "fspick",
    # other processes
    "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "pidfd_getfd", "kcmp",
    "setpriority", "ioprio_set", "sched_setaffinity", "sched_setattr", "sched_setparam", "sched_setscheduler",
    # attributes of files: run as root, the sandbox owns the machine's /dev/null, and would leave notes on it
    "chmod", "fchmod", "fchmodat", "chown", "fchown", "lchown", "fchownat", "utime", "utimes", "futimesat",
    "utimensat", "setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr",
    # memory that belongs to no process
    "memfd_create", "memfd_secret", "shmget", "msgget", "semget", "mq_open",
    # the kernel's further interpreters
    "bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register",
    "add_key", "request_key", "keyctl",
)  # fmt: skip
_NEWER_CALLS = range(452, 512)  # Linux 6.6 and later: fchmodat2, setxattrat and what this list cannot know
_NEW_NAMESPACES = (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000)  # of clone(2)


class SandboxUnavailable(RuntimeError):
    """No sandbox can be had on this machine; the message says what to do."""


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
            self.config["filter"] = _system_call_filter().hex()
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
                    env=_ENVIRONMENT, cwd="/", start_new_session=True,
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
        python = [sys.executable, "-I", "-c"]
        if self.config["walls"] == "none":
            return [*python, _START.format(str(room))]
        return [
            *bubblewrap(innermost=self.config["walls"] == "shared"), *_read_only_system(), *_masks(self.packages),
            "--ro-bind", str(room), _COURSE, *_SEALED, _inside(sys.executable), *python[1:], _START.format(_COURSE),
        ]  # fmt: skip


def bubblewrap(innermost: bool) -> list[str]:
    """The walls: own namespaces, no network, no capabilities, an empty environment, a small private /tmp.

    Args:
        innermost: forbid further user namespaces; the driver needs one for each submission.
    """
    environment = [word for name, value in _ENVIRONMENT.items() for word in ("--setenv", name, value)]
    return [
        "bwrap", "--unshare-all", "--unshare-user", *(["--disable-userns"] if innermost else []),
        "--uid", "65534", "--gid", "65534",
        "--hostname", "sandbox", "--cap-drop", "ALL", "--new-session", "--die-with-parent", "--clearenv", *environment,
        "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/dev/pts", "--size", str(_TMP_BYTES), "--tmpfs", "/dev/shm",
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
    if Path(sys.base_prefix).is_relative_to("/tmp") and sys.base_prefix != sys.prefix:
        raise SandboxUnavailable(f"Python is installed in {sys.base_prefix}, below /tmp, which the sandbox covers: "
                                 f"use a Python that is installed elsewhere, {advice}")  # fmt: skip
    probe = [*bubblewrap(innermost=False), *_read_only_system(), *_SEALED, "/usr/bin/true"]
    result = subprocess.run(probe, capture_output=True, text=True)
    if result.returncode != 0:
        why = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise SandboxUnavailable(f"bubblewrap cannot make a sandbox here ({why}): allow user namespaces, {advice}")


def _system_call_filter() -> bytes:
    """A seccomp program: what no answer needs, and what would reach other processes or take memory unseen."""
    try:
        import pyseccomp as seccomp
    except (ImportError, RuntimeError) as error:  # the second where its library is not there
        raise SandboxUnavailable(f"{error}: install what grading needs (pip install pyseccomp, libseccomp)") from None
    allowed = seccomp.SyscallFilter(seccomp.ALLOW)
    refuse = seccomp.ERRNO(errno.EPERM)
    for name in _REFUSED_CALLS:
        allowed.add_rule(refuse, name)
    for flag in _NEW_NAMESPACES:
        allowed.add_rule(refuse, "clone", seccomp.Arg(0, seccomp.MASKED_EQ, flag, flag))
    # The flags of clone3 lie in memory, where a filter cannot look; the C library falls back to clone.
    for call in ("clone3", *_NEWER_CALLS):
        allowed.add_rule(seccomp.ERRNO(errno.ENOSYS), call)
    allowed.add_rule(refuse, "prlimit64", seccomp.Arg(0, seccomp.NE, 0))  # limits of another process
    allowed.add_rule(refuse, "socket", seccomp.Arg(0, seccomp.GT, socket.AF_INET6))  # of all but common families
    with tempfile.TemporaryFile() as file:
        allowed.export_bpf(file)
        file.seek(0)
        return file.read()


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
            mounts += ["--ro-bind", prefix, _inside(prefix)]
    return mounts


def _inside(path: str) -> str:
    """Where a path of this Python's environment stands in the sandbox."""
    if not Path(path).is_relative_to(sys.prefix) or Path(sys.prefix).is_relative_to("/usr"):
        return path
    return str(_PYTHON / Path(path).relative_to(sys.prefix))


def _masks(packages: Sequence[str]) -> list[str]:
    """Empty folders over installed copies of the course's own packages."""
    masks = []
    for package in ("labcheck", *packages):
        folder = _folder(package)
        if any(folder.is_relative_to(prefix) for prefix in (sys.prefix, sys.base_prefix, "/usr")):
            masks += ["--tmpfs", _inside(str(folder))]
    return masks


def _furnish(room: Path, packages: Sequence[str], forbidden: Sequence[str]) -> None:
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


def _within(module: str, names: Sequence[str]) -> bool:
    return any(module == name or module.startswith(name + ".") for name in names)
