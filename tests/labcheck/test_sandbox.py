"""The walls, seen from inside, and what student code can take."""

import json
import os
import socket
import sys
import tempfile
from pathlib import Path

import pytest

from labcheck.answer import Answer, AnswerError
from labcheck.sandbox import Sandbox, SandboxBroken, SandboxUnavailable, require_bubblewrap

LAB = "lab01_numbers"
REPOSITORY = Path(__file__).parents[2]
FACTS = '''
import ctypes, importlib, json, os, pathlib, socket, sys

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

def sockets():
    links = [outcome(os.readlink, f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")]
    return [link for link in links if link.startswith("socket:")]

def facts(addresses, folders, modules, writable):
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return json.dumps({
        "connections": [outcome(connects, tuple(address)) for address in addresses],
        "interfaces": [name for _, name in socket.if_nameindex()],
        "folders": {name: sorted(os.listdir(name)) if os.path.isdir(name) else None for name in folders},
        "course": sorted(str(p.relative_to("/course")) for p in pathlib.Path("/course").rglob("*.py")),
        "environment": dict(os.environ),
        "environments": environments(),
        "ids": [os.getuid(), os.getgid(), os.getpid()],
        "processes": sorted(int(p) for p in os.listdir("/proc") if p.isdigit()),
        "imports": {name: outcome(lambda: importlib.import_module(name).__name__) for name in modules},
        "writes": {name: outcome(writes, name) for name in writable},
        "capabilities": status["CapEff"].strip(),
        "no new privileges": status["NoNewPrivs"].strip(),
        "new user namespace": ctypes.CDLL(None).unshare(0x10000000),
        "host": socket.gethostname(),
        "sockets": len(sockets()),
        "folder": os.getcwd(),
    })
'''


@pytest.fixture(scope="module")
def sandbox(unbuilt):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("A_SECRET_OF_THE_INSTRUCTOR", "swordfish")
        unavailable = unbuilt.unavailable(LAB)
        with Sandbox(LAB, fixtures="tinycourse.checks.fixtures", forbidden=unavailable, packages=["tinycourse"]) as box:
            yield box


@pytest.fixture
def inside(sandbox):
    """``inside(source, call)``: load a cell in a process of its own, and what ``call(answer)`` makes of it."""

    def check(source, call=lambda answer: answer.f(), *, cells=None, seconds=5.0, patience=30.0, memory=2**30):
        rows = [["f", source, True]] if cells is None else cells
        limits = {"seconds": seconds, "patience": patience, "memory": memory}
        check.loaded = sandbox.request({"op": "begin", "cells": rows, "seed": 1, **limits}, 60)
        try:
            if "loaded" in check.loaded:
                return call(Answer(lambda request: sandbox.request(request, 60)))
        finally:
            sandbox.send({"op": "end"}, 5)

    return check


@pytest.fixture(scope="module")
def facts(sandbox, unbuilt):
    server = socket.create_server(("127.0.0.1", 0))
    here = [*REPOSITORY.parents[: len(REPOSITORY.parents) - 1], REPOSITORY]
    folders = ["/home", "/root", "/var", "/srv", "/etc", "/sys", "/opt", "/mnt", "/tmp", *map(str, here)]
    arguments = (
        [[*server.getsockname()], ["192.0.2.1", 80], ["example.org", 80]],
        [*folders, str(unbuilt.root), str(unbuilt.solutions)],
        [
            "tinycourse", "tinycourse.checks", "tinycourse.checks.fixtures", "tinycourse.answers",
            "tinycourse.checks.lab01_numbers", "tinycourse.checks.lab02_makers", "labcheck.inside.session",
            "labcheck.checks", "labcheck.judge", "labcheck.expect", "noise2data", "torch",
        ],
        ["/", "/usr", "/etc", "/course", "/dev", "/proc", sys.prefix, sys.base_prefix, "/tmp", "/dev/shm"],
    )  # fmt: skip
    limits = {"seconds": 20.0, "patience": 60.0, "memory": 2**30}
    loaded = sandbox.request({"op": "begin", "cells": [["f", FACTS, True]], "seed": 1, **limits}, 60)
    assert loaded == {"loaded": []}
    with server:
        facts = json.loads(Answer(lambda request: sandbox.request(request, 60)).facts(*arguments))
    sandbox.send({"op": "end"}, 5)
    return facts


def visible(folder) -> set:
    """Names in a folder that lead to this Python, which a sandbox must show."""
    paths = [Path(prefix).resolve() for prefix in (sys.prefix, sys.base_prefix)]
    return {path.relative_to(folder).parts[0] for path in paths if path != Path(folder) and path.is_relative_to(folder)}


@pytest.mark.grading
def test_there_is_no_network(facts):
    assert all("rror:" in connection for connection in facts["connections"]), facts["connections"]
    assert set(facts["interfaces"]) <= {"lo"}


@pytest.mark.grading
def test_nothing_of_this_machine_is_there_but_system_and_python(facts):
    for folder, names in facts["folders"].items():
        if folder == "/etc":
            assert set(names) <= {"ld.so.cache", "alternatives"}
        else:
            assert set(names or ()) <= visible(folder), folder


@pytest.mark.grading
def test_of_the_course_there_are_only_modules_that_hold_no_answer_and_no_check(facts):
    course = {"tinycourse/__init__.py", "tinycourse/checks/__init__.py", "tinycourse/checks/fixtures.py"}
    files = set(facts["course"])
    assert {name for name in files if name.startswith("tinycourse/")} == course
    assert {name.split("/")[1] for name in files - course} == {"__init__.py", "inside"}


@pytest.mark.grading
def test_forbidden_modules_are_named_and_the_rest_is_not_there(facts):
    imports = facts["imports"]
    for module in ("tinycourse.answers", "tinycourse.checks.lab01_numbers", "tinycourse.checks.lab02_makers"):
        expected = f"ForbiddenImport: imports {module}, which is not available while {LAB} is graded"
        assert imports.pop(module) == expected
    for module in ("labcheck.checks", "labcheck.judge", "labcheck.expect", "noise2data"):
        assert imports.pop(module).startswith("ModuleNotFoundError")
    assert all(name == module for module, name in imports.items())


@pytest.mark.grading
def test_a_removed_import_hook_gives_no_module(inside):
    source = "import sys\ndef f():\n    sys.meta_path.pop(0)\n    import tinycourse.answers"
    with pytest.raises(AnswerError, match=r"ModuleNotFoundError: No module named 'tinycourse.answers'"):
        inside(source)


@pytest.mark.grading
def test_the_environment_is_cleared(facts):
    assert set(facts["environment"]) - {"PWD", "LC_CTYPE"} == {
        "HOME", "TMPDIR", "PATH", "LANG", "MPLBACKEND", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS",
        "CUDA_VISIBLE_DEVICES", "PYTHONDONTWRITEBYTECODE",
    }  # fmt: skip
    assert "swordfish" not in json.dumps(facts["environments"])
    assert facts["folder"] == "/tmp"


@pytest.mark.grading
def test_processes_have_a_namespace_of_their_own_and_no_rights(facts):
    assert len(facts["processes"]) <= 4 and max(facts["processes"]) < 1000
    assert os.getpid() not in facts["processes"] or os.getpid() < 1000
    assert facts["ids"][:2] == [65534, 65534]
    assert int(facts["capabilities"], 16) == 0
    assert facts["no new privileges"] == "1"
    assert facts["new user namespace"] == -1
    assert facts["host"] == "sandbox"
    assert facts["sockets"] == 1, "the one to the driver"


@pytest.mark.grading
def test_only_a_small_tmp_can_be_written(facts):
    writes = facts["writes"]
    assert (writes.pop("/tmp"), writes.pop("/dev/shm")) == ("written", "written")
    assert all("Error" in outcome for outcome in writes.values()), writes


def ended(inside, source, **limits) -> AnswerError:
    with pytest.raises(AnswerError) as caught:
        inside(source, **limits)
    return caught.value


@pytest.mark.grading
def test_a_loop_that_ignores_interrupts_ends_with_its_processor_time(inside):
    source = """
import signal
def f():
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass
"""
    error = ended(inside, source, seconds=0.5)
    assert (error.status, str(error)) == ("timeout", "used up its processor time")


@pytest.mark.grading
def test_what_sleeps_ends_with_the_patience(inside):
    error = ended(inside, "import time\ndef f():\n    time.sleep(1000)", patience=2.0)
    assert (error.status, str(error)) == ("timeout", "did not finish in time")


@pytest.mark.grading
@pytest.mark.parametrize(
    "value", ["bytearray(3 * 2**30)", "torch.empty(3 * 2**30, dtype=torch.uint8)", "'a' * 3 * 2**30"]
)
def test_an_allocation_of_3_gb_is_told_as_memory(inside, value):
    error = ended(inside, f"import torch\ndef f():\n    return len({value})", memory=2**29)
    assert (error.status, str(error)) == ("memory", "asked for more memory than a check may take")


@pytest.mark.grading
@pytest.mark.parametrize(
    ("action", "message"),
    [
        ("sys.exit('bye')", "raised SystemExit: bye"),
        ("os._exit(0)", "ended the process"),
        ("os.kill(os.getpid(), 9)", "ended the process (signal SIGKILL)"),
        ("ctypes.string_at(0)", "ended the process (signal SIGSEGV)"),
        ("os.closerange(3, 100)", "ended the process"),
    ],
)
def test_whatever_ends_the_process_costs_one_check(inside, action, message):
    error = ended(inside, f"import ctypes, os, sys\ndef f():\n    {action}")
    assert error.status == "error"
    assert str(error).startswith(message)
    assert inside("def f():\n    return 5") == 5, "the next check has a process of its own"


@pytest.mark.grading
def test_40_mb_of_output_cost_nothing(inside):
    source = """
import os, sys, warnings
def f():
    for _ in range(40):
        print("a" * 2**20)
        sys.stderr.write("b" * 2**20)
    os.write(1, b"c" * 2**20)
    warnings.warn("careful")
    return 5
"""
    assert inside(source) == 5


@pytest.mark.grading
def test_a_process_that_outlives_the_call_is_gone_at_the_next_check(inside):
    source = """
import os, time
def f():
    for _ in range(3):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                time.sleep(1000)
            time.sleep(1000)
    return count()
def count(most=1000):
    for _ in range(100):  # what was killed takes a moment to vanish
        processes = len([p for p in os.listdir("/proc") if p.isdigit()])
        if processes <= most:
            break
        time.sleep(0.05)
    return processes
"""
    alone = inside(source, lambda answer: answer.count())
    assert inside(source) >= alone + 3
    assert inside(source, lambda answer: answer.count(alone)) == alone


@pytest.mark.grading
def test_a_file_beyond_the_cap_cannot_be_written(inside):
    source = """
import os
def f():
    with open("/tmp/big", "wb") as file:
        for _ in range(80):
            file.write(bytes(2**20))
def size():
    size = os.path.getsize("/tmp/big")
    os.remove("/tmp/big")
    return size
"""
    assert "OSError" in str(ended(inside, source))
    assert inside(source, lambda answer: answer.size()) <= 64 * 2**20


@pytest.mark.grading
def test_the_cells_of_a_check_are_loaded_anew_with_the_same_seed(inside):
    source = """
import torch
X = torch.rand(2)
count = 0
def f():
    global count
    count += 1
    return count, X.tolist()
"""
    first = inside(source, lambda answer: [answer.f(), answer.f()])
    assert [count for count, _ in first] == [1, 2]
    assert inside(source, lambda answer: [answer.f(), answer.f()]) == first


@pytest.mark.grading
def test_a_cell_that_ends_the_process_while_loading_is_named(inside):
    cells = [["a", "x = 1", False], ["b", "import os\nx = os._exit(0)", True], ["c", "y = 1", False]]
    inside("", cells=cells)
    assert inside.loaded == {"ended": "error: ended the process", "cell": "b"}


@pytest.mark.grading
def test_what_cannot_be_loaded_is_told_and_costs_only_itself(inside):
    cells = [["a", "import nowhere\nx = 1 / 0", True], ["b", "def f(:", True], ["f", "def f():\n    return 7", True]]
    assert inside("", cells=cells) == 7
    assert [row[:2] for row in inside.loaded["loaded"]] == [["a", 1], ["a", 2], ["b", 1]]


@pytest.mark.grading
def test_fixtures_gradients_and_threads_work_behind_the_walls(inside):
    import torch

    source = "import torch\ndef f(g, x):\n    return g(x) * torch.get_num_threads()"

    def check(answer):
        g = answer.fixture("affine", scale=2.0, shift=1.0)
        seen = answer.gradient("f", g, torch.ones(3), wrt=[1], cotangent=torch.ones(3))
        return seen.value.tolist(), seen.grads[0].tolist(), answer.calls(g)

    assert inside(source, check) == ([3.0] * 3, [2.0] * 3, 1)


@pytest.mark.grading
def test_bytes_that_are_no_message_are_a_broken_sandbox_and_no_more(inside):
    source = """
import os, socket, struct
def f():
    for n in range(3, 20):
        try:
            if os.readlink(f"/proc/self/fd/{n}").startswith("socket:"):
                os.write(n, struct.pack("!Q", 4) + b"junk")
        except OSError:
            pass
    return 1
"""
    with pytest.raises((SandboxBroken, AnswerError)):
        inside(source)


@pytest.fixture
def room(monkeypatch, tmp_path):
    """A folder for temporary files of this test alone."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.grading
def test_nothing_is_left_behind(room):
    with Sandbox(LAB, packages=["tinycourse"]) as sandbox:
        assert len(list(room.iterdir())) == 1
    assert sandbox.process.poll() is not None
    assert not list(room.iterdir())


def test_no_bubblewrap_is_one_clear_line(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxUnavailable, match=r"^bubblewrap is not installed: install it .* --no-sandbox.*$"):
        Sandbox(LAB).__enter__()


def test_a_bubblewrap_that_may_not_work_is_one_clear_line(monkeypatch, tmp_path):
    fake = tmp_path / "bwrap"
    fake.write_text(
        "#!/bin/sh\necho first line >&2\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n"
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    reason = r"^bubblewrap cannot make a sandbox here \(bwrap: No permissions to create new namespace\): allow user .*$"
    with pytest.raises(SandboxUnavailable, match=reason):
        require_bubblewrap()


def test_a_package_that_is_not_installed_is_named_and_leaves_nothing(room):
    with pytest.raises(ModuleNotFoundError, match="'nowhere_at_all' is not installed"):
        Sandbox(LAB, packages=["nowhere_at_all"], walls=False).__enter__()
    assert not list(room.iterdir())


def test_a_driver_that_does_not_start_is_a_broken_sandbox(monkeypatch, room):
    sandbox = Sandbox(LAB, walls=False)
    monkeypatch.setattr(sandbox, "_command", lambda room: [sys.executable, "-c", "pass"])
    with pytest.raises(SandboxBroken):
        sandbox.__enter__()
    assert sandbox.process.poll() is not None
    assert not list(room.iterdir())
