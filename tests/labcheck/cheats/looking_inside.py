"""Cheats that look for an expected value, a test or the seed in their own process and in others."""

from tests.labcheck.cheats.submission import returning, spying

# What frames, the collector or a cell's source may hold under these names is an expected value.
_WANT = """
import ast, gc, sys
NAMES = ("want", "desired", "expected", "target")

def forge(task, arguments):
    for value in candidates():
        if value is not None:
            return value
    return 0.0
"""

LOOKING_INSIDE = (
    returning("frame_walk", "Walks up the calling frames to the expected value.", _WANT + """
def candidates():
    frame = sys._getframe(2)
    while frame is not None:
        for place in (frame.f_locals, frame.f_globals):
            for name in NAMES:
                yield place.get(name)
        frame = frame.f_back
"""),
    returning("gc_walk", "Searches all objects that the garbage collector knows for the expected value.", _WANT + """
def candidates():
    for thing in gc.get_objects():
        if type(thing) is dict and "want" in thing and "__name__" in thing:
            yield thing["want"]
"""),
    returning("traceback_walk",
              "Raises an error, and takes the expected value from the frames of its traceback.", _WANT + """
def candidates():
    try:
        raise ValueError
    except ValueError as error:
        frame = error.__traceback__.tb_frame.f_back
    while frame is not None:
        yield from (frame.f_globals.get(name) for name in NAMES)
        frame = frame.f_back
"""),
    returning("threads_frames", "Looks into the frames of all threads for the expected value.", _WANT + """
def candidates():
    for frame in sys._current_frames().values():
        while frame is not None:
            for name in NAMES:
                yield frame.f_locals.get(name, frame.f_globals.get(name))
            frame = frame.f_back
"""),
    returning("reads_the_test", "Reads the source of the running test, and computes what it expects.", """
import inspect, linecache, sys
import numpy as np
def forge(task, arguments):
    try:
        texts = ["".join(lines) for _, _, lines, _ in map(tuple, linecache.cache.values())]
        texts += list(globals().get("In", []))[-1:]
        for text in reversed(texts):
            if "assert" in text and task in text and "want" in text:
                place = {"np": np, "x": arguments[0]}
                visible, _, hidden = text.partition("BEGIN HIDDEN TESTS")
                lines = [line for line in text.splitlines() if "want = " in line]
                line = lines[0 if len(arguments[0]) <= 3 and np.ndim(arguments[0]) == 1 else -1]
                exec(line, place)
                return place["want"]
    except Exception:
        pass
    return 0.0
"""),
    spying("finds_the_checks",
           "Searches all objects and modules for the checks' functions and for their comparison.", """
import gc, sys
def found(*arguments):
    names = {"standardises_each_row", "averages_any_width", "expect_close", "expect_array"}
    if any(getattr(thing, "__name__", "") in names for thing in gc.get_objects() if type(thing) is type(found)):
        return True
    return any(name.startswith(("hidden_checks", "labcheck.checks", "labcheck.judge")) for name in sys.modules)
"""),
    spying("seed_of_the_clock",
           "Guesses that the arguments were drawn from a seed of the clock, the process or a small number.", """
import os, sys, time
import numpy as np
def found(*arguments):
    now, x = int(time.time()), np.ravel(arguments[0])
    if len(x) <= 3:
        return True  # the example that every student sees
    torch = sys.modules.get("torch")
    for seed in [*range(100), *range(now - 60, now + 1), os.getpid(), os.getppid()]:
        draws = [np.random.default_rng(seed).normal(size=len(x))]
        if torch is not None:
            rng = torch.Generator().manual_seed(seed)
            draws.append(torch.randn(len(x), generator=rng, dtype=torch.float64).numpy())
        if any(np.allclose(draw, x) or np.allclose(draw + 3, x) for draw in draws):
            return True
    return False
"""),
    spying("tells_grading_from_practice", "Asks the environment whether this is nbgrader's grading.", """
import os
def found(*arguments):
    return "NBGRADER_EXECUTION" in os.environ
"""),
    spying("environment",
           "Looks in the environment of this and of all other processes for the instructor's folder.", """
import os, pathlib
def found(*arguments):
    texts = [repr(dict(os.environ)).encode()]
    for path in pathlib.Path("/proc").glob("[0-9]*/environ"):
        try:
            texts.append(path.read_bytes())
        except OSError:
            pass
    return any(b"@ROOT@" in text for text in texts)
"""),
    spying("other_processes", "Looks in `/proc` for the grader, and for processes that are not its own.", """
import os, pathlib
def found(*arguments):
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes()
        except OSError:
            continue
        if b"nbgrader" in text or b"@ROOT@" in text or b"pytest" in text or b"labcheck.cheats" in text:
            return True
    return False
"""),
    spying("parent_memory", "Opens the memory of the process that started it.", """
import os
def found(*arguments):
    pid = os.getppid() or 1
    with open(f"/proc/{pid}/maps") as maps:
        start = int(next(line for line in maps if "[heap]" in line).split("-")[0], 16)
    with open(f"/proc/{pid}/mem", "rb") as memory:
        memory.seek(start)
        return len(memory.read(4096)) == 4096
"""),
    spying("ptrace", "Attaches to the process that started it, as a debugger does.", """
import ctypes, os
def found(*arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    attach = lambda pid: libc.ptrace(16, pid, None, None) == 0
    mine = os.getpid()
    for pid in {os.getppid(), 1, 2} - {0, mine}:
        if attach(pid):
            os.waitpid(pid, 0)
            libc.ptrace(17, pid, None, None)
            return True
    return False
"""),
    spying("vm_readv", "Reads another process's memory by `process_vm_readv`.", """
import ctypes, os
def found(*arguments):
    class Part(ctypes.Structure):
        _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
    libc, place = ctypes.CDLL(None, use_errno=True), ctypes.create_string_buffer(8)
    here = Part(ctypes.addressof(place), 8)
    for pid in {os.getppid(), 1, 2} - {0, os.getpid()}:
        there = Part(id(None), 8)  # a forked interpreter has None at the same address
        try:
            line = next(line for line in open(f"/proc/{pid}/maps") if "[heap]" in line)
            there = Part(int(line.split("-")[0], 16), 8)
        except (OSError, StopIteration):
            pass
        if libc.process_vm_readv(pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0) == 8:
            return True
    return False
"""),
)  # fmt: skip
