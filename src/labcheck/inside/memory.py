"""Cheap forks of a large process."""

from __future__ import annotations

import ctypes
import re

_HUGE = 2 * 2**20  # bytes of a huge page on the common processors
_MADV_COLLAPSE = 25  # Linux 6.1 and later
_WRITABLE = re.compile(r"([0-9a-f]+)-([0-9a-f]+) rw-p \S+ \S+ 0\s*(?:\[heap\])?$")


def use_huge_pages() -> None:
    """Move this process's own memory to huge pages, where the kernel can.

    A fork copies the entry of every page, and its end takes them down again: with torch, some 80,000 entries
    of 4 kB, which costs more than most checks. 2 MB pages leave a few hundred. See madvise(2).
    """
    libc = ctypes.CDLL(None)
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    with open("/proc/self/maps") as maps:
        ranges = [found.groups() for line in maps if (found := _WRITABLE.match(line))]
    for first, last in ranges:
        start = -(-int(first, 16) // _HUGE) * _HUGE
        for place in range(start, int(last, 16) - _HUGE + 1, _HUGE):
            libc.madvise(place, _HUGE, _MADV_COLLAPSE)  # pages that it refuses stay as they are
