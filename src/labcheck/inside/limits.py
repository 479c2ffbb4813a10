"""What a submission may take: limits that the kernel keeps for each process, and a watch over all of them."""

from __future__ import annotations

import contextlib
import math
import os
import resource

_OPEN_FILES = 256
_FILE_BYTES = 64 * 2**20


class Exceeded(Exception):
    """A limit on all of a submission's processes, as "status: sentence"."""


def limit_process(seconds: float, memory: int | None) -> None:
    """Bound this process and its forks: processor seconds of each, bytes of address space, files."""
    seconds = math.ceil(seconds)
    limits = {
        resource.RLIMIT_CPU: (seconds, seconds + 1),  # a signal that has a name, then the end
        resource.RLIMIT_FSIZE: (_FILE_BYTES, _FILE_BYTES),
        resource.RLIMIT_NOFILE: (_OPEN_FILES, _OPEN_FILES),
        resource.RLIMIT_CORE: (0, 0),
    }
    if memory is not None:
        limits[resource.RLIMIT_AS] = (memory, memory)
    for name, value in limits.items():
        resource.setrlimit(name, value)


class Watch:
    """Counts the processes of a submission and their memory; call it now and then while they run.

    It is made in the process that starts them, and takes that process's own size, which is torch's, as
    what each may have for nothing. A user's own limit on processes would not do: it does not hold for root.
    """

    def __init__(self) -> None:
        self.folder = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)  # still good where /proc is covered later
        self.others = set(self._processes())
        self.size, self.resident, shared = self._pages("self")
        self.private = self.resident - shared
        self.limits = {"memory": 0, "processes": 0}

    def __call__(self) -> None:
        """Raise Exceeded where a limit is exceeded."""
        own = self.own()
        if len(own) > self.limits["processes"]:
            raise Exceeded(f"error: started more than {self.limits['processes']} processes")
        # A fork shares what it inherits until it writes to it: that counts in full from the third process on.
        used = self.private * max(0, len(own) - 2)
        for process in own:
            with contextlib.suppress(OSError, ValueError):  # it may have ended by now
                used += max(0, self._pages(process)[1] - self.resident)
        if used > self.limits["memory"]:
            raise Exceeded("memory: asked for more memory than a check may take")

    def own(self) -> set[str]:
        """The processes that were started since."""
        return set(self._processes()) - self.others

    def offer_to_the_kernel(self) -> None:
        """Make this process the first to go should the machine run out of memory."""
        descriptor = os.open("self/oom_score_adj", os.O_WRONLY, dir_fd=self.folder)
        os.write(descriptor, b"1000")
        os.close(descriptor)

    def _processes(self) -> list[str]:
        return [name for name in os.listdir(self.folder) if name.isdigit()]

    def _pages(self, process: str) -> list[int]:
        """Size, resident size and shared part of it, in bytes."""
        descriptor = os.open(f"{process}/statm", os.O_RDONLY, dir_fd=self.folder)
        try:
            return [int(n) * resource.getpagesize() for n in os.read(descriptor, 200).split()[:3]]
        finally:
            os.close(descriptor)
