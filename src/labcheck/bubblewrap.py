"""The walls around student code: bubblewrap's arguments, and the system calls that are refused behind them."""

from __future__ import annotations

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

_TMP_BYTES = 64 * 2**20
COURSE = "/course"  # what a sandbox sees of labcheck and of the course
_PYTHON = "/python"  # where the environment is mounted: its own place may be below /tmp, which is covered
_SEALED = [  # once all is mounted: these are in memory, without a cap
    word for folder in ("/", "/dev", "/dev/pts") for word in ("--remount-ro", folder)
]
ENVIRONMENT = {
    "HOME": "/tmp", "TMPDIR": "/tmp", "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "MPLBACKEND": "agg",
    "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "",
    "PYTHONDONTWRITEBYTECODE": "1",
}  # fmt: skip

REFUSED_CALLS = (
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
NEWER_CALLS = range(452, 512)  # Linux 6.6 and later: fchmodat2, setxattrat and what this list cannot know
NEW_NAMESPACES = (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000)  # of clone(2)


class SandboxUnavailable(RuntimeError):
    """No sandbox can be had on this machine; the message says what to do."""


def behind_walls(room: Path, packages: Sequence[str], innermost: bool) -> list[str]:
    """The command that starts this Python behind walls; Python's own arguments follow it.

    Args:
        room: a folder that is to be seen as `COURSE`.
        packages: the course's packages, whose installed copies are not to be seen.
        innermost: as for `walls`.
    """
    return [
        *walls(innermost), *_read_only_system(), *_masks(packages),
        "--ro-bind", str(room), COURSE, *_SEALED, _inside(sys.executable),
    ]  # fmt: skip


def walls(innermost: bool) -> list[str]:
    """The walls: own namespaces, no network, no capabilities, an empty environment, a small private /tmp.

    Args:
        innermost: forbid further user namespaces; the driver needs one for each submission.
    """
    environment = [word for name, value in ENVIRONMENT.items() for word in ("--setenv", name, value)]
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
    probe = [*walls(innermost=False), *_read_only_system(), *_SEALED, "/usr/bin/true"]
    result = subprocess.run(probe, capture_output=True, text=True)
    if result.returncode != 0:
        why = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise SandboxUnavailable(f"bubblewrap cannot make a sandbox here ({why}): allow user namespaces, {advice}")


def system_call_filter() -> bytes:
    """A seccomp program: what no answer needs, and what would reach other processes or take memory unseen."""
    try:
        import pyseccomp as seccomp
    except (ImportError, RuntimeError) as error:  # the second where its library is not there
        raise SandboxUnavailable(f"{error}: install what grading needs (pip install pyseccomp, libseccomp)") from None
    allowed = seccomp.SyscallFilter(seccomp.ALLOW)
    refuse = seccomp.ERRNO(errno.EPERM)
    for name in REFUSED_CALLS:
        allowed.add_rule(refuse, name)
    for flag in NEW_NAMESPACES:
        allowed.add_rule(refuse, "clone", seccomp.Arg(0, seccomp.MASKED_EQ, flag, flag))
    # The flags of clone3 lie in memory, where a filter cannot look; the C library falls back to clone.
    for call in ("clone3", *NEWER_CALLS):
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
        folder = package_folder(package)
        if any(folder.is_relative_to(prefix) for prefix in (sys.prefix, sys.base_prefix, "/usr")):
            masks += ["--tmpfs", _inside(str(folder))]
    return masks


def package_folder(package: str) -> Path:
    """Where a package is installed.

    Raises:
        ModuleNotFoundError: it is not.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"the course's package {package!r} is not installed")
    return Path(next(iter(spec.submodule_search_locations))).resolve()
