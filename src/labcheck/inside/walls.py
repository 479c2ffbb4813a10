"""Walls around a forked process: what bubblewrap gives to a program that it starts, for one that is already warm.

Importing torch takes longer than judging a submission, so one process imports it and forks. A fork
that is to run student code first enters namespaces of its own, in which it sees no process, file
or socket of anybody else, and then gives up all that would let it out again. The calls are those
of unshare(2), mount(2), prctl(2), capset(2) and seccomp(2).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from collections.abc import Callable, Iterator

_NAMESPACES = {"mnt": 0x20000, "uts": 0x4000000, "ipc": 0x8000000, "user": 0x10000000, "pid": 0x20000000,
               "net": 0x40000000}  # fmt: skip
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MNT_DETACH = 1, 2, 4, 2
_PR_SET_SECCOMP, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS, _SECCOMP_MODE_FILTER = 22, 36, 38, 2
_CAPABILITY_VERSION_3 = 0x20080522
_BPF_INSTRUCTION = 8  # bytes

_libc = ctypes.CDLL(None, use_errno=True)


class _Program(ctypes.Structure):
    """``struct sock_fprog``: a number of instructions, and where they stand."""

    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]


def in_namespaces(function: Callable[[], None]) -> None:
    """Run a function as the first process of new namespaces, and wait until all of them is gone.

    The function runs in a fork, with all capabilities inside its own user namespace and none outside,
    with an empty /tmp and /dev/shm of its own. When it returns, the kernel kills every process that was
    started in there.

    Raises:
        OSError: (in the fork, which then ends) the system does not allow it.
    """
    outer = os.fork()
    if outer == 0:
        with _leaving():
            _unshare()
            if (inner := os.fork()) == 0:
                with _leaving():
                    fresh_files()
                    function()
            os.waitpid(inner, 0)
    os.waitpid(outer, 0)


def possible(filter_program: bytes) -> bool:
    """Whether this process can do all that this module does, tried out."""
    read, write = os.pipe()

    def attempt() -> None:
        hide_processes()
        give_up(filter_program)
        os.write(write, b"1")

    in_namespaces(attempt)
    os.close(write)
    with open(read, "rb") as answer:
        return answer.read() == b"1"


def fresh_files(megabytes: int = 64) -> bool:
    """Empty /tmp and /dev/shm, of a stated size each.

    Returns:
        Whether some process has a file of the former ones open, which keeps all of that one in memory.
    """
    os.chdir("/")
    held = False
    for folder in ("/tmp", "/dev/shm"):
        # It fails also for what the outer walls mounted; that is covered instead.
        if _libc.umount2(folder.encode(), 0) != 0 and ctypes.get_errno() == errno.EBUSY:
            held = True
            _libc.umount2(folder.encode(), _MNT_DETACH)
        _mount(folder, megabytes * 2**20)
    return held


def hide_processes() -> None:
    """Cover /proc with an empty folder: it shows processes of outer namespaces."""
    _mount("/proc", 2**16, _MS_RDONLY)


def adopt() -> None:
    """Become the parent of what children leave when they end, which then can be waited for."""
    _check(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "child subreaper")


def give_up(filter_program: bytes) -> None:
    """Drop all capabilities and refuse, from now on, the system calls that a BPF program names.

    Args:
        filter_program: of seccomp, as `labcheck.bubblewrap` compiles it.
    """
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    _check(_libc.capset(header, (ctypes.c_uint32 * 6)()), "capset")
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    program = _Program(len(filter_program) // _BPF_INSTRUCTION, filter_program)
    _check(_libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0), "seccomp")


@contextlib.contextmanager
def _leaving() -> Iterator[None]:
    """End the process after the block, whatever happens: a fork must not run on in its parent's code."""
    try:
        yield
    finally:
        os._exit(0)


def _unshare() -> None:
    user, group = os.getuid(), os.getgid()
    _check(_libc.unshare(sum(_NAMESPACES.values())), "unshare")
    for name, line in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(line)


def _mount(folder: str, size: int, flags: int = 0) -> None:
    options = f"size={size},nr_inodes=10k,mode=0755".encode()
    flags |= _MS_NOSUID | _MS_NODEV
    _check(_libc.mount(b"tmpfs", folder.encode(), b"tmpfs", flags, options), f"mount {folder}")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
