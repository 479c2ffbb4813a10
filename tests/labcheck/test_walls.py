"""The walls, seen from inside: nothing to find, nowhere to go, nobody to harm."""

import contextlib
import errno
import json
import os
import signal
import socket
import sys
from pathlib import Path

import psutil
import pyseccomp
import pytest

from labcheck.bubblewrap import NEW_NAMESPACES, NEWER_CALLS, REFUSED_CALLS
from labcheck.sandbox import Sandbox
from tests.labcheck.submitting import LAB, Submission, descendants, idle, run

pytestmark = pytest.mark.grading

REPOSITORY = Path(__file__).parents[2]
FACTS = '''
import ctypes, importlib, json, os, pathlib, socket, stat, sys
libc = ctypes.CDLL(None, use_errno=True)

def outcome(action, *args):
    """What came of an attempt: its value, or the name of the error."""
    try:
        return action(*args)
    except BaseException as error:
        return f"{type(error).__name__}: {error}"

def connects(address):
    with socket.create_connection(address, timeout=3):
        return "connected"

def writes(folder):
    path = pathlib.Path(folder, "written")
    path.write_text("x")
    path.unlink()
    return "written"

def environments():
    return [outcome(pathlib.Path("/proc", p, "environ").read_text) for p in os.listdir("/proc") if p.isdigit()]

def open_files():
    """The kinds of all open files beyond the standard ones."""
    modes = [outcome(os.fstat, n) for n in range(3, os.sysconf("SC_OPEN_MAX"))]
    return [stat.filemode(mode.st_mode)[0] for mode in modes if not isinstance(mode, str)]

def capabilities():
    header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    return [libc.capget(header, sets), *sets]

def facts(addresses, folders, modules, writable):
    return json.dumps({
        "connections": [outcome(connects, tuple(address)) for address in addresses],
        "folders": {name: sorted(os.listdir(name)) if os.path.isdir(name) else None for name in folders},
        "course": sorted(str(p.relative_to("/course")) for p in pathlib.Path("/course").rglob("*.py")),
        "environment": dict(os.environ),
        "environments": environments(),
        "ids": [*os.getresuid(), *os.getresgid()],
        "processes": [p for p in range(1, 2000) if outcome(os.kill, p, 0) is None],
        "proc": os.listdir("/proc"),
        "imports": {name: outcome(lambda: importlib.import_module(name).__name__) for name in modules},
        "writes": {name: outcome(writes, name) for name in writable},
        "capabilities": capabilities(),
        "no new privileges": libc.prctl(39, 0, 0, 0, 0),
        "filter": libc.prctl(21, 0, 0, 0, 0),
        "raised": [outcome(os.setuid, 0), outcome(os.setgid, 0), outcome(os.setgroups, [0])],
        "host": socket.gethostname(),
        "rename": outcome(socket.sethostname, "mine"),
        "open files": open_files(),
        "folder": os.getcwd(),
        "terminal": outcome(os.open, "/dev/tty", os.O_RDWR),
        "devices": sorted(os.listdir("/dev")),
        "pseudoterminals": outcome(os.openpty),
    })
'''


@pytest.fixture(scope="module", params=["own", "shared"])
def sandbox(request, unbuilt):
    """Both kinds of walls: a fork of one driver for each submission, and bubblewrap for each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("A_SECRET_OF_THE_INSTRUCTOR", "swordfish")
        places = {"fixtures": "tinycourse.checks.fixtures", "packages": ["tinycourse"]}
        with Sandbox(LAB, forbidden=unbuilt.unavailable(LAB), nested=request.param == "own", **places) as box:
            assert box.config["walls"] == request.param, "this machine has both"
            yield box


# Elsewhere the keeper is an ordinary process, which student code can end, and the judge starts again.
in_own_namespaces = pytest.mark.parametrize("sandbox", ["own"], indirect=True)


@pytest.fixture(scope="module")
def facts(sandbox, unbuilt):
    server = socket.create_server(("127.0.0.1", 0))
    here = [*REPOSITORY.parents[: len(REPOSITORY.parents) - 1], REPOSITORY]
    folders = ["/home", "/root", "/var", "/srv", "/etc", "/sys", "/opt", "/mnt", "/run", "/tmp", *map(str, here)]
    arguments = (
        [[*server.getsockname()], ["192.0.2.1", 80], ["example.org", 80]],
        [*folders, str(unbuilt.root), str(unbuilt.solutions)],
        [
            "tinycourse", "tinycourse.checks", "tinycourse.checks.fixtures", "tinycourse.answers",
            "tinycourse.checks.lab01_numbers", "tinycourse.checks.lab02_makers", "labcheck.inside.session",
            "labcheck.checks", "labcheck.judge", "labcheck.expect", "noise2data", "torch",
        ],
        ["/", "/usr", "/etc", "/course", "/dev", "/dev/pts", "/proc", "/python", sys.base_prefix, "/tmp", "/dev/shm"],
    )  # fmt: skip
    with server, Submission(sandbox, FACTS, seconds=20.0) as submission:
        assert submission.loaded == {"loaded": []}
        return json.loads(submission.run(lambda answer: answer.facts(*arguments)))


def visible(folder) -> set:
    """Names in a folder that lead to this Python, which a sandbox must show."""
    path = Path(sys.base_prefix).resolve()
    return {path.relative_to(folder).parts[0]} if path != Path(folder) and path.is_relative_to(folder) else set()


def test_there_is_no_network(facts):
    assert all("rror:" in connection for connection in facts["connections"]), facts["connections"]


def test_nothing_of_this_machine_is_there_but_system_and_python(facts):
    for folder, names in facts["folders"].items():
        if folder == "/etc":
            assert set(names) <= {"ld.so.cache", "alternatives"}
        else:
            assert set(names or ()) <= visible(folder), folder


def test_of_the_course_there_are_only_modules_that_hold_no_answer_and_no_check(facts):
    course = {"tinycourse/__init__.py", "tinycourse/checks/__init__.py", "tinycourse/checks/fixtures.py"}
    files = {name for name in facts["course"] if name != "tinycourse/series.py"}  # the answers of another lab
    assert {name for name in files if name.startswith("tinycourse/")} == course
    assert {name.split("/")[1] for name in files - course} == {"__init__.py", "inside"}


def test_forbidden_modules_are_named_and_the_rest_is_not_there(facts):
    imports = dict(facts["imports"])
    for module in ("tinycourse.answers", "tinycourse.checks.lab01_numbers", "tinycourse.checks.lab02_makers"):
        expected = f"ForbiddenImport: imports {module}, which is not available while {LAB} is graded"
        assert imports.pop(module) == expected
    for module in ("labcheck.checks", "labcheck.judge", "labcheck.expect", "noise2data"):
        assert imports.pop(module).startswith("ModuleNotFoundError")
    assert all(name == module for module, name in imports.items())


def test_a_removed_import_hook_gives_no_module(sandbox):
    error = run(sandbox, "import sys\ndef f():\n    sys.meta_path.pop(0)\n    import tinycourse.answers")
    assert "ModuleNotFoundError: No module named 'tinycourse.answers'" in str(error)


def test_the_environment_is_cleared(facts):
    assert set(facts["environment"]) - {"PWD", "LC_CTYPE"} == {
        "HOME", "TMPDIR", "PATH", "LANG", "MPLBACKEND", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS",
        "CUDA_VISIBLE_DEVICES", "PYTHONDONTWRITEBYTECODE",
    }  # fmt: skip
    assert "swordfish" not in json.dumps(facts["environments"])
    assert facts["folder"] == "/tmp"


def test_no_other_process_is_there(facts, sandbox):
    if sandbox.own_namespaces:
        assert facts["proc"] == []
        assert len(facts["processes"]) == 3, "its keeper, its stage and itself"
    else:
        assert len(facts["processes"]) <= 4, "bubblewrap's as well"
    assert facts["processes"][0] == 1 and max(facts["processes"]) < 1000
    assert facts["host"] == "sandbox"


def test_it_has_no_rights_and_can_get_none(facts):
    assert facts["ids"] == [65534] * 6
    assert facts["capabilities"] == [0] * 7
    assert (facts["no new privileges"], facts["filter"]) == (1, 2)
    assert all("Error" in outcome for outcome in [*facts["raised"], facts["rename"]])


def test_it_holds_its_own_channel_and_no_other_file(facts):
    assert facts["open files"] == ["s"]
    assert "Error" in facts["terminal"]
    assert "Error" in facts["pseudoterminals"]
    assert set(facts["devices"]) <= {
        "null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "shm", "core", "fd",
        "stdin", "stdout", "stderr",
    }  # fmt: skip


def test_only_a_small_tmp_can_be_written(facts):
    writes = dict(facts["writes"])
    assert (writes.pop("/tmp"), writes.pop("/dev/shm")) == ("written", "written")
    assert all("Error" in outcome for outcome in writes.values()), writes


CALLS = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)

def errors(calls):
    errors = []
    for call in calls:
        libc.syscall(*map(ctypes.c_long, call))
        errors.append(ctypes.get_errno())
    return errors
"""


def test_the_filter_refuses_every_call_that_it_names(sandbox):
    names = [name for name in REFUSED_CALLS if number(name) >= 0]
    assert {"unshare", "setns", "mount", "ptrace", "bpf", "io_uring_setup", "sched_setaffinity"} <= set(names)
    errors = run(sandbox, CALLS, lambda answer: answer.errors([[number(name), 0, 0, 0, 0, 0, 0] for name in names]))
    assert dict(zip(names, errors, strict=True)) == dict.fromkeys(names, errno.EPERM)


def test_the_filter_refuses_calls_that_are_newer_than_itself(sandbox):
    calls = [[call, 0, 0, 0, 0, 0, 0] for call in (*NEWER_CALLS, number("clone3"))]
    assert set(run(sandbox, CALLS, lambda answer: answer.errors(calls))) == {errno.ENOSYS}


def test_the_filter_looks_at_arguments(sandbox):
    clones = [[number("clone"), flag | int(signal.SIGCHLD), 0, 0, 0, 0] for flag in NEW_NAMESPACES]
    families = [socket.AF_NETLINK, socket.AF_PACKET, socket.AF_ALG, socket.AF_VSOCK]
    sockets = [[number("socket"), int(family), int(socket.SOCK_RAW), 0] for family in families]
    limits = [[number("prlimit64"), process, 0, 0, 0] for process in (1, 2)]
    errors = run(sandbox, CALLS, lambda answer: answer.errors([*clones, *sockets, *limits]))
    assert set(errors) == {errno.EPERM}


def test_the_numbers_of_another_kind_of_system_call_are_no_way_around_the_filter(sandbox):
    unshare = 0x40000000 + number("unshare")  # the x32 numbers; elsewhere there are none so large
    result = run(sandbox, CALLS, lambda answer: answer.errors([[unshare, 0x10000000]]))
    assert result == [errno.ENOSYS] or str(result) == "ended the process (signal SIGSYS)"


def number(name: str) -> int:
    """Of a system call; negative where this processor has none of that name."""
    return pyseccomp.resolve_syscall(pyseccomp.system_arch(), name)


def test_attributes_of_the_machines_own_files_cannot_be_changed(sandbox):
    source = """
import os
def f(path):
    refused = 0
    for action in (lambda: os.utime(path), lambda: os.utime(path, (5, 7)), lambda: os.chmod(path, 0o600),
                   lambda: os.chown(path, -1, -1), lambda: os.setxattr(path, "user.note", b"x"),
                   lambda: os.utime(os.open(path, os.O_RDONLY)), lambda: os.truncate(path, 0)):
        try:
            action()
        except OSError:
            refused += 1
    return refused
"""
    paths = [
        "/dev/null",
        "/dev/zero",
        "/dev/full",
        "/dev/random",
        "/dev/urandom",
        "/dev/tty",
        os.path.realpath(sys.executable),
    ]
    before = [attributes(path) for path in paths]
    assert run(sandbox, source, lambda answer: [answer.f(path) for path in paths]) == [7] * len(paths)
    assert [attributes(path) for path in paths] == before


def attributes(path):
    status = os.stat(path)
    return status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, status.st_size


KILLS = """
import os, resource, signal
def kills(processes):
    for process in processes:
        for number in set(signal.Signals) | set(range(signal.SIGRTMIN, signal.SIGRTMAX + 1)):
            if process > 0 or number not in (signal.SIGKILL, signal.SIGSTOP):
                try:
                    os.kill(process, number)
                except OSError:
                    pass
    return 5

def refused():
    count = 0
    for action in (lambda: resource.prlimit(1, resource.RLIMIT_AS, (1, 1)), lambda: os.setpriority(0, 1, 19),
                   lambda: os.sched_setaffinity(1, [0]), lambda: os.sched_setscheduler(1, 5, os.sched_param(0)),
                   lambda: open("/proc/1/mem", "rb"), lambda: os.readlink("/proc/1/ns/pid"),
                   lambda: os.setpgid(1, 0), lambda: os.pidfd_open(10**6)):
        try:
            action()
        except OSError:
            count += 1
    return count

def f():
    return 5
"""


@in_own_namespaces
def test_no_signal_and_no_limit_reaches_the_keeper(sandbox):
    before = idle(sandbox)
    with Submission(sandbox, KILLS) as submission:
        keeper = keeper_of(sandbox, before)
        assert submission.run(lambda answer: answer.kills([1])) == 5
        assert submission.run(lambda answer: answer.refused()) == 8
        assert submission.run() == 5
        assert keeper_of(sandbox, before) == keeper


def test_a_process_outside_cannot_be_named(sandbox):
    outside = [os.getpid(), os.getppid(), sandbox.process.pid, *(p.pid for p in descendants(sandbox))]
    source = """
import os
def f(processes):
    found = []
    for process in processes:
        try:
            os.kill(process, 0)
            found.append(process)
        except ProcessLookupError:
            pass
    return found
"""
    found = run(sandbox, source, lambda answer: answer.f([p for p in outside if p > 10]))
    assert found == []


@in_own_namespaces
def test_who_kills_all_that_it_can_reach_ends_itself_alone(sandbox):
    source = "import os\ndef f(n):\n    os.kill(-1, n)\n    return 1\ndef g():\n    return 5"
    before = idle(sandbox)
    with Submission(sandbox, source) as submission:
        keeper = keeper_of(sandbox, before)
        assert submission.run(lambda answer: answer.f(9)) == 1, "all but itself: the stage is gone"
        assert submission.run(lambda answer: answer.g()) == 5
        assert keeper_of(sandbox, before) == keeper
    assert run(sandbox, source, lambda answer: answer.g()) == 5


def keeper_of(sandbox, before) -> int:
    """The process number, here, of the first process of a submission's own namespace."""
    for process in descendants(sandbox) - before:
        with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError):
            status = Path(f"/proc/{process.pid}/status").read_text()
            if status.split("NSpid:")[1].splitlines()[0].split()[-1] == "1":
                return process.pid
    raise AssertionError("no keeper is there")
