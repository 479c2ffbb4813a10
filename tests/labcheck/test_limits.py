"""What a submission can take: no more than its limits, and from nobody else."""

import time

import pytest
import torch

from labcheck import Battery, expect
from labcheck.inside.loading import Cell
from labcheck.judge import Limits, judge
from labcheck.sandbox import Sandbox
from tests.labcheck.submitting import LAB, Submission, descendants, run, told, wait_for

pytestmark = pytest.mark.grading

LATE = ("timeout", "did not finish in time")
USED_UP = ("timeout", "used up its processor time")
TOO_LARGE = ("memory", "asked for more memory than a check may take")
TASKS = [f"task_{n}" for n in range(20)]
RIGHT = "def f():\n    return 5"


@pytest.fixture(scope="module", params=["own", "shared"])
def sandbox(request):
    with Sandbox(LAB, fixtures="tinycourse.checks.fixtures", packages=["tinycourse"],
                 nested=request.param == "own") as box:  # fmt: skip
        yield box


in_own_namespaces = pytest.mark.parametrize("sandbox", ["own"], indirect=True)


BUSY = """
import signal
def f():
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM{more}):
        signal.signal(number, signal.SIG_IGN)
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass
"""


@pytest.mark.parametrize("more", ["", ", signal.SIGXCPU"])
def test_a_loop_that_ignores_signals_ends_with_its_processor_time(sandbox, more):
    assert told(run(sandbox, BUSY.format(more=more), seconds=0.5)) == USED_UP


@in_own_namespaces
def test_who_raises_its_own_limits_is_refused(sandbox):
    source = """
import resource
def f():
    refused = 0
    for name in (resource.RLIMIT_CPU, resource.RLIMIT_AS, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE):
        try:
            resource.setrlimit(name, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        except (ValueError, OSError):
            refused += 1
    return refused
"""
    assert run(sandbox, source) == 4


def test_what_sleeps_ends_with_the_patience(sandbox):
    start = time.monotonic()
    assert told(run(sandbox, "import time\ndef f():\n    time.sleep(1000)", patience=1.0)) == LATE
    assert time.monotonic() - start < 20


@in_own_namespaces
def test_the_patience_is_for_all_calls_of_a_check_together(sandbox):
    source = "import time\ndef f():\n    time.sleep(0.4)\n    return 1"
    with Submission(sandbox, source, patience=1.0) as submission:
        results = submission.run(lambda answer: [answer.f() for _ in range(10)])
        assert told(results) == LATE
        assert submission.run() == 1, "and anew for the next check"


@in_own_namespaces
def test_a_reply_that_drips_ends_with_the_patience(sandbox):
    source = """
import os, stat, struct, time
def f():
    (number,) = [n for n in range(3, 256) if exists(n)]
    for byte in struct.pack("!Q", 1000) + bytes(1000):
        os.write(number, bytes([byte]))
        time.sleep(0.02)
def exists(n):
    try:
        return stat.S_ISSOCK(os.fstat(n).st_mode)
    except OSError:
        return False
"""
    assert told(run(sandbox, source, patience=1.0)) == LATE


@in_own_namespaces
def test_who_sleeps_in_every_check_uses_up_the_time_of_the_submission(sandbox):
    battery = Battery(LAB)
    for task in TASKS:
        battery.check(task)(lambda answer, rng: expect(answer.f() == 5, "is not 5"))
    cells = [Cell("f", "import time\ndef f():\n    time.sleep(1000)", answer=True)]
    limits = Limits(seconds=0.05)
    start = time.monotonic()
    verdict = judge(battery, cells, sandbox, seed=1, limits=limits)
    assert time.monotonic() - start < limits.submission + 15
    assert verdict.score == 0 and {check.status for check in verdict.checks} == {"timeout"}
    assert "used up its time" in verdict.checks[-1].message


@in_own_namespaces
@pytest.mark.parametrize(
    "value", ["bytearray(3 * 2**30)", "torch.empty(3 * 2**30, dtype=torch.uint8)", "'a' * 3 * 2**30"]
)
def test_an_allocation_of_3_gb_is_told_as_memory(sandbox, value):
    assert told(run(sandbox, f"import torch\ndef f():\n    return len({value})", memory=2**29)) == TOO_LARGE


# Each process stays below the limit of one; a third of it each is too much for five.
SPREAD = """
import os, time
def f():
    for _ in range(5):
        if os.fork() == 0:
            data = bytearray(100 * 2**20)
            time.sleep(1000)
    time.sleep(1000)
"""


def test_memory_counts_over_all_processes(sandbox):
    assert told(run(sandbox, SPREAD, memory=300 * 2**20)) == TOO_LARGE
    assert run(sandbox, RIGHT) == 5


FORKS = """
import os
def f():
    while True:
        try:
            os.fork()
        except OSError:
            pass
def g():
    return 5
"""


def test_a_fork_bomb_costs_its_own_check_alone(sandbox):
    with Submission(sandbox, FORKS, memory=2**34) as submission:
        assert told(submission.run()) == ("error", "started more than 32 processes")
        assert submission.run(lambda answer: answer.g()) == 5
    assert run(sandbox, RIGHT) == 5


@in_own_namespaces
def test_a_bomb_that_goes_off_while_the_judge_thinks_is_stopped_as_well(sandbox):
    source = """
import os, time
def f():
    if os.fork() == 0:
        time.sleep(0.2)
        for _ in range(40):
            if os.fork() == 0:
                time.sleep(1000)
        time.sleep(1000)
    return 5
"""
    with Submission(sandbox, source, memory=2**34) as submission:
        before = len(descendants(sandbox))

        def call(answer):
            assert answer.f() == 5
            time.sleep(2)
            assert len(descendants(sandbox)) < before + 2, "nothing is asked, and all the same they are gone"
            return answer.f()

        assert told(submission.run(call)) == ("error", "started more than 32 processes")
        assert submission.run() == 5


@in_own_namespaces
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
def test_whatever_ends_the_process_costs_one_check(sandbox, action, message):
    source = f"import ctypes, os, sys\ndef f():\n    {action}\ndef g():\n    return 5"
    with Submission(sandbox, source) as submission:
        status, said = told(submission.run())
        assert status == "error" and said.startswith(message)
        assert submission.run(lambda answer: answer.g()) == 5


@in_own_namespaces
def test_40_mb_of_output_cost_nothing(sandbox):
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
    assert run(sandbox, source) == 5


def test_a_file_beyond_the_cap_cannot_be_written(sandbox):
    source = """
def f():
    with open("/dev/shm/big", "wb") as file:
        for _ in range(80):
            file.write(bytes(2**20))
"""
    assert "OSError" in str(run(sandbox, source))


@in_own_namespaces
def test_many_files_cannot_hold_more_than_the_room_that_there_is(sandbox):
    source = """
def f():
    written = 0
    try:
        for n in range(20):
            with open(f"/tmp/{n}", "wb") as file:
                for _ in range(10):
                    written += file.write(bytes(2**20))
    except OSError:
        return written
"""
    assert run(sandbox, source) <= 64 * 2**20


@in_own_namespaces
def test_files_cannot_be_kept_in_memory_from_check_to_check(sandbox):
    """A thread of the stage holds each check's /tmp open, which would keep all that the check wrote there."""
    source = """
import os, threading, time
held, seen = [], []
def hold():
    while True:
        try:
            descriptor = os.open("/tmp/big", os.O_RDONLY)
            held.append(descriptor)
        except OSError:
            pass
        time.sleep(0.01)
X = threading.Thread(target=hold, daemon=True).start()
def f():
    with open("/tmp/big", "wb") as file:
        file.write(bytes(50 * 2**20))
    time.sleep(0.2)
    return len(held)
"""
    with Submission(sandbox, source) as submission:
        assert [submission.run() for _ in range(3)] == [0, 0, 0], "the stage was loaded anew each time"


@in_own_namespaces
def test_a_process_has_few_open_files(sandbox):
    source = """
import os
def f():
    count = 0
    try:
        while True:
            os.dup(0)
            count += 1
    except OSError:
        return count
"""
    assert 100 < run(sandbox, source) < 256


# Ways to go on after the end of a check.
OUTLIVES = {
    "a child": "child(lambda: time.sleep(1000))",
    "a session of its own": "child(lambda: (os.setsid(), time.sleep(1000)))",
    "a grandchild": "child(lambda: (os.setsid(), child(lambda: time.sleep(1000))))",
    "who ignores all signals": "child(lambda: ([signal.signal(n, signal.SIG_IGN) for n in range(1, 9) if n not in "
    "(signal.SIGKILL,)], time.sleep(1000)))",
    "a thread": "threading.Thread(target=time.sleep, args=(1000,)).start()",
    "a handler at exit": "atexit.register(time.sleep, 1000)",
    "no exit": "setattr(os, '_exit', lambda status: time.sleep(1000))",
    "who stops": "child(lambda: os.kill(os.getpid(), signal.SIGSTOP))",
}


@pytest.mark.parametrize("way", OUTLIVES)
@in_own_namespaces
def test_what_outlives_its_check_is_gone_at_the_next(sandbox, way):
    source = f"""
import atexit, os, signal, threading, time
def child(action):
    if os.fork() == 0:
        action()
        os._exit(0)
def f():
    {OUTLIVES[way]}
    return 5
def alive():
    return [p for p in range(1, 3000) if exists(p)]
def exists(process):
    try:
        os.kill(process, 0)
        return True
    except OSError:
        return False
"""
    with Submission(sandbox, source) as submission:
        before = len(descendants(sandbox))
        assert submission.run() == 5
        assert len(submission.run(lambda answer: answer.alive())) == 3, "keeper, stage and check"
        wait_for(lambda: len(descendants(sandbox)) == before)  # a check ends while the judge goes on


@in_own_namespaces
@pytest.mark.parametrize("hook", ["before", "after_in_parent", "after_in_child"])
def test_a_hook_that_hangs_when_the_stage_forks_ends_with_the_patience(sandbox, hook):
    source = f"import os, time\nos.x = os.register_at_fork({hook}=lambda: time.sleep(1000))\ndef f():\n    return 5"
    with Submission(sandbox, [["f", source, True]], patience=1.5) as submission:
        results = [submission.run() for _ in range(2)]
    assert all(result == 5 or told(result) == LATE for result in results)
    assert hook == "after_in_parent" or 5 not in results
    assert run(sandbox, RIGHT) == 5


@in_own_namespaces
def test_the_cells_of_a_check_are_as_loaded_with_the_same_seed(sandbox):
    source = """
import torch
X = torch.rand(2)
count = 0
def f():
    global count
    count += 1
    return count, X.tolist(), torch.rand(()).item()
"""
    with Submission(sandbox, source) as submission:
        first = submission.run(lambda answer: [answer.f(), answer.f()])
        assert [count for count, *_ in first] == [1, 2]
        assert submission.run(lambda answer: [answer.f(), answer.f()]) == first


@in_own_namespaces
def test_a_cell_that_ends_the_process_while_loading_is_named(sandbox):
    cells = [["a", "x = 1", False], ["b", "import os\nx = os._exit(0)", True], ["c", "y = 1", False]]
    with Submission(sandbox, cells) as submission:
        assert submission.loaded == {"ended": "error: ended the process", "cell": "b"}


@in_own_namespaces
@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("time.sleep(1000)", "timeout: did not finish in time"),
        ("[0 for _ in iter(int, 1)]", "timeout: used up its processor time"),
        ("[os.fork() for _ in range(9)] + [time.sleep(1000)]", "error: started more than 32 processes"),
    ],
)
def test_limits_hold_while_cells_are_loaded(sandbox, statement, why):
    cells = [["f", f"import os, time\nx = {statement}", True]]
    with Submission(sandbox, cells, patience=4.0, seconds=1.0, memory=2**34) as submission:
        assert submission.loaded == {"ended": why, "cell": "f"}
    assert run(sandbox, RIGHT) == 5


@in_own_namespaces
def test_what_cannot_be_loaded_is_told_and_costs_only_itself(sandbox):
    cells = [["a", "import nowhere\nx = 1 / 0", True], ["b", "def f(:", True], ["f", RIGHT, True]]
    with Submission(sandbox, cells) as submission:
        assert submission.run() == 5
        assert sorted(row[:2] for row in submission.loaded["loaded"]) == [["a", 1], ["a", 2], ["b", 1]]


@in_own_namespaces
def test_fixtures_gradients_and_threads_work_behind_the_walls(sandbox):
    def check(answer):
        g = answer.fixture("affine", scale=2.0, shift=1.0)
        seen = answer.gradient("f", g, torch.ones(3), wrt=[1], cotangent=torch.ones(3))
        return seen.value.tolist(), seen.grads[0].tolist(), answer.calls(g)

    source = "import torch\ndef f(g, x):\n    return g(x) * torch.get_num_threads()"
    assert run(sandbox, source, check) == ([3.0] * 3, [2.0] * 3, 1)
