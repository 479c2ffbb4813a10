"""Submissions that share one import of torch share nothing else: what one leaves, the next does not find."""

import contextlib
import json
import os
import time
import uuid
from pathlib import Path

import pytest

from labcheck.answer import AnswerError
from labcheck.inside.wire import unpack
from labcheck.sandbox import Sandbox
from tests.labcheck.submitting import LAB, Submission, descendants, idle, run, wait_for

pytestmark = pytest.mark.grading

NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
OWN = set(NAMESPACES) - {"cgroup"}  # of which bubblewrap makes one for all


@pytest.fixture(scope="module")
def sandbox():
    """One warm driver for all submissions."""
    with Sandbox(LAB, fixtures="tinycourse.checks.fixtures", packages=["tinycourse"]) as box:
        assert box.own_namespaces
        yield box


# What a submission can see, and everything that it can leave.
TRACES = """
import builtins, ctypes, fcntl, gc, json, os, random, resource, signal, socket, stat, sys, threading, time
import numpy as np
import torch

HERE = ["/tmp", "/dev/shm"]
ABSTRACT = chr(0) + "a note"
libc = ctypes.CDLL(None, use_errno=True)
kept = []

def outcome(action, *args):
    try:
        return action(*args)
    except BaseException as error:
        return f"{type(error).__name__}: {error}"

def connects(address):
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect(address)

def locks(path):
    with open(path) as file:
        return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

def kind(number):
    return stat.filemode(os.fstat(number).st_mode)[0]

def look():
    return json.dumps({
        "files": [sorted(os.listdir(folder)) for folder in HERE],
        "room": [os.statvfs(folder).f_bfree for folder in HERE],
        "times": [(s.st_mode, s.st_mtime_ns, s.st_ctime_ns) for s in map(os.stat, ("/dev/null", "/dev", "/course"))],
        "abstract socket": outcome(connects, ABSTRACT),
        "socket in a file": outcome(connects, "/tmp/socket"),
        "lock": outcome(locks, "/usr/bin/env"),
        "processes": len([p for p in range(1, 5000) if outcome(os.kill, p, 0) is None]),
        "threads": threading.active_count(),
        "environment": sorted(os.environ.items()),
        "modules": sorted(sys.modules),
        "builtins": [sorted(vars(builtins)), repr(abs)],
        "import hooks": len(sys.meta_path),
        "path": sys.path,
        "trace": [repr(sys.gettrace()), repr(sys.getprofile())],
        "torch": [hasattr(torch, "note"), str(torch.get_default_dtype()), torch.get_num_threads(),
                  torch.is_grad_enabled(), torch.backends.cudnn.benchmark, repr(torch.allclose)[:18]],
        "parameters": torch.nn.functional.__dict__.get("note"),
        "random": [random.random(), float(np.random.rand()), float(torch.rand(())), torch.initial_seed()],
        "numpy": [np.get_printoptions()["precision"], np.geterr()],
        "signals": [str(signal.getsignal(n)) for n in (signal.SIGUSR1, signal.SIGINT, signal.SIGCHLD)],
        "blocked signals": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        "open files": [[n, kind(n)] for n in range(1024) if not isinstance(outcome(os.fstat, n), str)],
        "folder": os.getcwd(),
        "mask": oct(os.umask(0o22)),
        "processors": sorted(os.sched_getaffinity(0)),
        "niceness": os.getpriority(os.PRIO_PROCESS, 0),
        "limits": [resource.getrlimit(n) for n in range(16)],
        "timer": signal.getitimer(signal.ITIMER_REAL)[1],
        "name": thread_name(),
        "hook": repr(sys.excepthook)[:26],
        "debugging": gc.get_threshold(),
    })

def thread_name():
    buffer = ctypes.create_string_buffer(16)
    libc.prctl(16, buffer, 0, 0, 0)
    return buffer.value.decode()

def leave():
    for folder in HERE:
        os.mkdir(folder + "/folder")
        with open(folder + "/note", "wb") as file:
            file.write(b"x" * 2**20)
    for address in (ABSTRACT, "/tmp/socket"):
        kept.append(socket.socket(socket.AF_UNIX))
        kept[-1].bind(address)
        kept[-1].listen()
    kept.append(open("/usr/bin/env"))
    fcntl.flock(kept[-1], fcntl.LOCK_EX)
    kept.append(os.dup2(kept[-1].fileno(), 200))
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(1000)
        os._exit(0)
    threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
    os.environ["NOTE"] = "x"
    sys.modules["note"] = builtins.note = torch.note = torch.nn.functional.note = 5
    builtins.abs = lambda *args: 0
    torch.allclose = lambda *args, **options: True
    sys.meta_path.clear()
    sys.path.append("/note")
    sys.setprofile(lambda *args: None)
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(2)
    torch.set_grad_enabled(False)
    torch.backends.cudnn.benchmark = True
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(99)
    np.set_printoptions(precision=2)
    np.seterr(all="raise")
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    signal.setitimer(signal.ITIMER_REAL, 900, 900)
    os.chdir("/usr")
    os.umask(0o77)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
    libc.prctl(15, b"a note", 0, 0, 0)
    sys.excepthook = print
    gc.set_threshold(5)

def leave_and_look():
    leave()
    return look()
"""
ALIKE = {"times", "processors", "niceness"}  # which student code cannot change at all


@pytest.fixture(scope="module")
def seen(sandbox):
    """What submissions see: the first one, one that leaves all it can, and the next."""
    views = [run(sandbox, TRACES, lambda answer, name=name: getattr(answer, name)()) for name in
             ("look", "leave_and_look", "look")]  # fmt: skip
    return [json.loads(view) for view in views]


def test_the_traces_are_there_for_who_leaves_them(seen):
    first, left, _ = seen
    assert {name for name in first if first[name] == left[name]} == ALIKE


def test_the_next_submission_sees_what_the_first_one_saw(seen):
    first, _, next_one = seen
    assert next_one == first


def test_the_next_check_of_the_same_submission_sees_what_the_first_one_saw(sandbox, seen):
    with Submission(sandbox, TRACES) as submission:
        first = submission.run(lambda answer: answer.look())
        assert submission.run(lambda answer: answer.leave_and_look()) != first
        assert submission.run(lambda answer: answer.look()) == first
    assert json.loads(first) == seen[0]


def test_traces_that_cells_leave_while_they_are_loaded_end_with_their_submission(sandbox, seen):
    with Submission(sandbox, TRACES + "\nleft = leave()") as submission:
        view = json.loads(submission.run(lambda answer: answer.look()))
        assert submission.loaded == {"loaded": []}
    assert view["torch"][0] and view["environment"] == seen[1]["environment"]
    assert view["files"] == [[], []], "each check begins with an empty /tmp, the first one too"
    assert json.loads(run(sandbox, TRACES, lambda answer: answer.look())) == seen[0]


# What no submission sees of itself, seen from outside, by who started the sandbox.
SLEEPS = "import time\nMARK = {mark!r} * 1000\ndef f():\n    kept = MARK.upper()\n    time.sleep(1000)"


def test_each_submission_has_namespaces_of_its_own(sandbox):
    with contextlib.ExitStack() as stack:
        outside, driver = namespaces(os.getpid(), stack), namespaces(driver_of(sandbox), stack)
        submissions = []
        for _ in range(2):
            with running(sandbox, SLEEPS.format(mark="x")) as processes:
                found = [namespaces(process, stack) for process in processes]
                assert len(found) == 3, "keeper, stage and check"
                assert all(one == found[0] for one in found)
                submissions.append(found[0])
        # The files are held open, so that the kernel gives no number twice.
        for kind in OWN:
            assert len({outside[kind], driver[kind], *(one[kind] for one in submissions)}) == 4, kind
        assert outside["cgroup"] != driver["cgroup"] == submissions[0]["cgroup"]


def test_no_process_of_a_submission_is_left(sandbox):
    before = idle(sandbox)
    with running(sandbox, SLEEPS.format(mark="x")) as processes:
        assert len(processes) == 3
    assert run(sandbox, "def f():\n    return 5") == 5
    assert idle(sandbox) == before


def test_no_byte_of_a_submission_is_in_the_memory_of_driver_or_next_submission(sandbox):
    mark, driver = uuid.uuid4().hex, driver_of(sandbox)
    with running(sandbox, SLEEPS.format(mark=mark)) as processes:
        assert all(holds(process, mark) for process in processes), "keeper, stage and check: it finds what is there"
        assert holds(processes[-1], mark.upper()), "what the check made of it, too"
        assert not holds(driver, mark)
    with running(sandbox, SLEEPS.format(mark="another")) as processes:
        for process in [driver, *processes]:
            assert not holds(process, mark) and not holds(process, mark.upper())


def test_nothing_of_the_judge_is_in_the_memory_of_a_submission(sandbox):
    mark, driver = uuid.uuid4().hex, driver_of(sandbox)
    assert holds(os.getpid(), mark)
    with running(sandbox, SLEEPS.format(mark="x")) as processes:
        assert not any(holds(process, mark) for process in [driver, *processes])


def test_a_driver_serves_on_after_a_submission_that_takes_all_it_can(sandbox):
    before = driver_of(sandbox)
    source = "import os\ndef f():\n    while True:\n        os.fork()\ndef g():\n    os.kill(-1, 9)"
    with Submission(sandbox, source) as submission:
        assert isinstance(submission.run(), AnswerError)
        assert submission.run(lambda answer: answer.g()) is None
    assert run(sandbox, "def f():\n    return 5") == 5
    assert driver_of(sandbox) == before


@contextlib.contextmanager
def running(sandbox, source):
    """Process numbers of a submission's keeper, stage and check, while the check sleeps."""
    before = idle(sandbox)
    with Submission(sandbox, source) as submission:
        assert submission.loaded == {"loaded": []}
        submission.start("f")
        wait_for(lambda: len(inner(descendants(sandbox) - before)) == 3)
        found = inner(descendants(sandbox) - before)
        time.sleep(0.3)  # for the check to fall asleep
        yield found
        os.kill(found[-1], 9)
        assert unpack(sandbox._receive(20)) == {"ended": "error: ended the process (signal SIGKILL)"}


def inner(processes) -> list[int]:
    """Of these, the numbers here of those in a namespace within the sandbox's, in the order of their numbers there."""
    numbers = {}
    for process in processes:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            row = Path(f"/proc/{process.pid}/status").read_text().split("NSpid:")[1].splitlines()[0].split()
            numbers[process.pid] = [int(number) for number in row]
    deepest = max((len(row) for row in numbers.values()), default=0)
    return sorted((pid for pid, row in numbers.items() if len(row) == deepest), key=lambda pid: numbers[pid][-1])


def driver_of(sandbox) -> int:
    """The process that all submissions are forked from: the first one below bubblewrap that runs Python."""
    (driver,) = (process for process in idle(sandbox) if process.name().startswith("python"))
    return driver.pid


def namespaces(process: int, stack) -> dict:
    """The namespaces of a process by kind, kept alive until the stack is closed."""
    found = {}
    for kind in NAMESPACES:
        descriptor = os.open(f"/proc/{process}/ns/{kind}", os.O_RDONLY)
        stack.callback(os.close, descriptor)
        found[kind] = os.fstat(descriptor).st_ino
    return found


def holds(process: int, mark: str) -> bool:
    """Whether a mark stands in what a process can write to."""
    with open(f"/proc/{process}/maps") as maps, open(f"/proc/{process}/mem", "rb", buffering=0) as file:
        for line in maps:
            place, rights, *_ = line.split()
            first, last = (int(end, 16) for end in place.split("-"))
            if rights.startswith("rw"):
                file.seek(first)
                with contextlib.suppress(OSError):  # a guard page
                    if mark.encode() in file.read(last - first):
                        return True
    return False
