"""Driver, keeper and stage in forks of this process: what they tell the judge, whatever runs beside them does."""

import contextlib
import os
import socket
import struct
import time

import pytest
import torch

from labcheck.answer import AnswerError
from labcheck.bubblewrap import system_call_filter
from labcheck.inside import driver, keeper, walls
from labcheck.inside.channel import Channel, Closed
from labcheck.inside.limits import Exceeded, Watch
from labcheck.inside.stage import be_stage, ended
from labcheck.inside.wire import END, pack, unpack
from labcheck.sandbox import Sandbox, SandboxBroken
from tests.labcheck.submitting import LAB, LIMITS, Submission, framed, run, told

FIXTURES = "tinycourse.checks.fixtures"
RIGHT = "def f():\n    return 5"
FORK = "import ctypes\nfork = ctypes.PyDLL(None).fork"  # Python's own calls what coverage does after each fork
SUBMISSION = {"cells": [["f", RIGHT, True]], "tasks": ["f"], "seed": 1, **LIMITS}


class Forked(Sandbox):
    """A sandbox whose driver is a fork of this process, in namespaces that show it no other processes."""

    def _command(self, room):
        raise AssertionError("nothing is executed")

    def _start(self):
        self._used = self._opened = self._waiting = False
        ours, theirs = socket.socketpair()

        def drive():
            os.dup2(theirs.fileno(), 0)
            ours.close()
            theirs.close()
            walls.in_namespaces(serve)

        def serve():
            assert walls._libc.mount(b"proc", b"/proc", b"proc", 0, None) == 0
            driver.main()

        self.pid = in_fork(drive)
        theirs.close()
        self.channel = Channel(ours)
        self._stack.callback(self._stop)
        assert self.request(self.config, 60) == {"possible": True}
        assert unpack(self._receive(60)) == {"ready": True}

    def _stop(self):
        self.channel.close()
        os.waitpid(self.pid, 0)


def in_fork(function) -> int:
    """The process number of a fork that runs a function and ends."""
    if (pid := os.fork()) == 0:
        try:
            function()
        finally:
            os._exit(0)
    return pid


@pytest.fixture(params=["own", "none"])
def sandbox(request, course_folder):
    options = {"fixtures": FIXTURES, "forbidden": ["answers_of_the_lab"], "warm": ["nowhere", "json"]}
    with Forked(LAB, walls=request.param == "own", **options) as box:
        yield box


@pytest.fixture
def played(monkeypatch):
    """``played(stage)``: a sandbox of which each stage is a function of its channel, in a process of its own."""
    boxes = []

    def play(stage, walls=True, **limits):
        monkeypatch.setattr(keeper, "be_stage", lambda channel, config, watch, submission: stage(channel))
        monkeypatch.setattr(keeper, "_GRACE", 1.0)
        boxes.append(Forked(LAB, walls=walls).__enter__())
        return Submission(boxes[-1], RIGHT, patience=1.5, **limits)

    yield play
    for box in boxes:
        box.__exit__()


@pytest.mark.grading
def test_submissions_are_served_one_after_the_other(sandbox):
    for number in range(2):
        source = f"import torch\nX = torch.rand(2)\ndef f():\n    return {number}, X.tolist()"
        with Submission(sandbox, source) as submission:
            assert submission.loaded == {"loaded": []}
            first = submission.run()
            assert first[0] == number and submission.run() == first
            error = submission.run(lambda answer: answer.g())
            assert told(error) == ("missing", "`g` is not defined")


@pytest.mark.grading
def test_a_forbidden_module_is_named(sandbox):
    said = f"imports answers_of_the_lab, which is not available while {LAB} is graded"
    error = run(sandbox, "def f():\n    import answers_of_the_lab")
    assert told(error) == ("forbidden", said)


@pytest.mark.grading
def test_a_check_that_ends_is_told_and_the_next_one_is_served(sandbox):
    source = """
import os, time
def f(n):
    os.kill(os.getpid(), n)
def g():
    time.sleep(9)
def h():
    return 5
"""
    with Submission(sandbox, source, patience=2.0) as submission:
        assert told(submission.run(lambda answer: answer.f(9))) == ("error", "ended the process (signal SIGKILL)")
        assert told(submission.run(lambda answer: answer.f(24))) == ("timeout", "used up its processor time")
        assert told(submission.run(lambda answer: answer.g())) == ("timeout", "did not finish in time")
        assert submission.run(lambda answer: answer.h()) == 5

        def twice(answer):
            with contextlib.suppress(AnswerError):
                answer.f(9)
            return answer.f(9)

        assert told(submission.run(twice)) == ("error", "ended the process (signal SIGKILL)")


@pytest.mark.grading
def test_a_cell_that_ends_the_stage_is_named_and_no_check_can_be_had(sandbox):
    with Submission(sandbox, "import os\nx = os._exit(0)") as submission:
        assert submission.loaded == {"ended": "error: ended the process", "cell": "f"}
        assert told(submission.run()) == ("error", "ended the process")


@pytest.mark.grading
@pytest.mark.parametrize("sandbox", ["own"], indirect=True)
def test_what_a_check_started_is_killed_with_its_stage(sandbox):
    source = "import os, time\ndef f():\n    if os.fork() == 0:\n        time.sleep(1000)\n    return os.getpid()"
    with Submission(sandbox, source) as submission:
        first, second = submission.run(), submission.run()
        assert second > first + 2, "another stage, and its check"
    crowd = f"import time\n{FORK}\ndef f():\n    [fork() for _ in range(4)]\n    time.sleep(1000)"
    assert told(run(sandbox, crowd, processes=8, memory=2**34)) == ("error", "started more than 8 processes")


@pytest.mark.grading
@pytest.mark.parametrize("sandbox", ["own"], indirect=True)
def test_a_crowd_that_comes_while_the_judge_thinks_is_killed(sandbox):
    source = f"""
import time
{FORK}
def f():
    if fork() == 0:
        time.sleep(0.2)
        [fork() for _ in range(4)]
        time.sleep(1000)
    return 5
"""

    def call(answer):
        assert answer.f() == 5
        time.sleep(1.5)
        return answer.f()

    with Submission(sandbox, source, processes=8, memory=2**34) as submission:
        assert told(submission.run(call)) == ("error", "started more than 8 processes")


@pytest.mark.grading
def test_a_submission_that_is_closed_in_the_middle_of_a_check_is_over(sandbox):
    with Submission(sandbox, RIGHT) as submission:
        submission.start("f")
        assert unpack(sandbox._receive(20))["value"] == 5
    assert run(sandbox, RIGHT) == 5


def loaded(channel):
    channel.send(pack({"loaded": []}), 5)


def silent(channel):
    loaded(channel)
    time.sleep(100)


def unreachable(channel):
    channel.sock.shutdown(socket.SHUT_RD)
    loaded(channel)
    time.sleep(100)


def liar(channel):
    """Let a check end at once, and tell nonsense of it."""
    loaded(channel)
    while True:
        _, descriptor = channel.take(5)
        os.close(descriptor)
        channel.send(pack({"signal": -7, "seconds": "long"}), 5)


def flooding(channel):
    for _ in range(50):
        channel.send(pack({"loading": "x" * 1000}), 5)
    time.sleep(100)


def too_long(channel):
    loaded(channel)
    _, descriptor = channel.take(5)
    os.write(descriptor, struct.pack("!Q", 2**63))
    time.sleep(100)


def many_rows(channel):
    rows = [["f", 1, "x"], ["f", "1", "x"], [1], "x", {}, ["f", True, "x"], ["f", 2, "y"]]
    channel.send(pack({"loaded": rows}), 5)
    time.sleep(100)


@pytest.mark.grading
@pytest.mark.parametrize("walls", [True, False])
@pytest.mark.parametrize(
    ("stage", "load", "check"),
    [
        (silent, {"loaded": []}, ("timeout", "did not finish in time")),
        (unreachable, {"loaded": []}, ("error", "ended the process")),
        (liar, {"loaded": []}, ("error", "ended the process")),
        (flooding, {"ended": "error: it sent no answer", "cell": "x" * 200}, ("error", "it sent no answer")),
        (too_long, {"loaded": []}, ("error", f"a message of {2**63:,} bytes; at most {2**26:,} may be sent")),
        (many_rows, {"loaded": [["f", 1, "x"], ["f", 2, "y"]]}, ("timeout", "did not finish in time")),
        (lambda channel: None, {"ended": "error: ended the process", "cell": ""}, ("error", "ended the process")),
        (lambda channel: time.sleep(100), {"ended": "timeout: did not finish in time", "cell": ""},
         ("timeout", "did not finish in time")),
        (lambda channel: channel.sock.sendall(b"x" * 99), {"cell": ""}, ("error", "a message of ")),
        (lambda channel: channel.sock.sendall(framed(b"junk")), {"cell": ""}, ("error", "not a message")),
    ],
)  # fmt: skip
def test_a_hostile_stage_costs_its_own_checks(played, stage, load, check, walls):
    with played(stage, walls) as submission:
        assert load.items() <= submission.loaded.items()
        for _ in range(2):
            status, said = told(submission.run())
            assert status == check[0] and said.startswith(check[1])


@pytest.mark.grading
def test_a_keeper_that_does_not_exist_is_a_broken_sandbox(played, monkeypatch):
    monkeypatch.setattr(driver, "keep", lambda judge, config: None)
    with pytest.raises(SandboxBroken):
        played(silent).__enter__()


@pytest.mark.grading
def test_a_stage_serves_checks_until_its_keeper_is_gone(course_folder):
    config = {"walls": "none", "fixtures": FIXTURES}
    ours, theirs = socket.socketpair()
    cells = [["a", "x = 1 / 0", True], ["f", "import torch\ndef f():\n    return torch.rand(2)", True]]
    stage = in_fork(lambda: be_stage(Channel(theirs), config, None, SUBMISSION | {"cells": cells}))
    theirs.close()
    channel = Channel(ours)
    assert [unpack(channel.receive(20)) for _ in range(2)] == [{"loading": "a"}, {"loading": "f"}]
    assert unpack(channel.receive(20)) == {"loaded": [["a", 1, "ZeroDivisionError: division by zero"]]}
    values = []
    for _ in range(2):
        mine, other = socket.socketpair()
        channel.hand(pack({"seed": 3}), other.fileno(), 5)
        other.close()
        check = Channel(mine)
        check.send(pack({"op": "call", "target": "f", "args": [], "kwargs": {}}), 5)
        values.append(unpack(check.receive(20))["value"])
        check.close()
        words = unpack(channel.receive(20))
        assert words["signal"] == 0 and 0 <= words["seconds"] < 5
    assert torch.equal(*values), "of the same seed"
    channel.close()
    assert os.waitpid(stage, 0)[0] == stage


@pytest.mark.grading
def test_walls_around_a_fork_hide_all_and_give_up_all():
    program = system_call_filter()
    assert walls.possible(program)
    assert not walls.possible(b"no program"), "a filter that the kernel does not take is no wall"
    read, write = os.pipe()

    def look():
        walls.hide_processes()
        facts = [os.getpid(), os.listdir("/proc"), os.listdir("/tmp"), os.listdir("/dev/shm")]
        with open("/tmp/note", "w") as file:
            file.write("x")
            facts.append(walls.fresh_files())
        with open("/tmp/note", "w") as file:
            file.write("x")
        facts += [walls.fresh_files(), os.listdir("/tmp")]
        os.chdir("/tmp")
        walls.give_up(program)
        try:
            os.chmod("/tmp", 0o777)
        except PermissionError:
            facts.append("refused")
        os.write(write, pack(facts))

    walls.in_namespaces(look)
    os.close(write)
    with open(read, "rb") as file:
        facts = unpack(file.read())
    assert facts == [1, [], [], [], True, False, [], "refused"]


@pytest.mark.grading
def test_walls_that_cannot_be_had_are_not_passed_over(monkeypatch):
    monkeypatch.setitem(walls._NAMESPACES, "no such namespace", 1)
    assert not walls.possible(system_call_filter())


def test_a_watch_counts_what_was_started_since():
    watch = Watch()
    watch.limits = {"memory": 2**20, "processes": 10**6}  # others on this machine start processes too
    others = watch.own()
    read, write = os.pipe()

    def grow():
        os.close(write)
        watch.offer_to_the_kernel()
        data = bytearray(b"x") * (watch.resident - watch.private + 50 * 2**20)  # what a fork maps anew when it reads
        os.read(read, 1)
        del data

    children = [in_fork(grow) for _ in range(2)]
    assert {str(child) for child in children} <= watch.own() - others
    with pytest.raises(Exceeded, match=r"^memory: asked for more memory than a check may take$"):
        for _ in range(1000):
            watch()
            time.sleep(0.01)
    watch.limits = {"memory": 2**40, "processes": 0}
    with pytest.raises(Exceeded, match=r"^error: started more than 0 processes$"):
        watch()
    watch.limits = {"memory": 2**40, "processes": 10**6}
    watch()
    os.close(write)
    assert [ended(child)[0] for child in children] == [0, 0]
    assert ended(children[0]) == (0, 0.0), "who is not there any more"
    os.close(read)


def test_an_open_file_travels_with_its_message():
    ours, theirs = map(Channel, socket.socketpair())
    read, write = os.pipe()
    ours.hand(b"take", write, 5)
    message, descriptor = theirs.take(5)
    os.write(descriptor, b"x")
    assert (message, os.read(read, 1)) == (b"take", b"x")
    ours.send(b"no file", 5)
    with pytest.raises(Closed):
        theirs.take(5)
    for number in (read, write, descriptor):
        os.close(number)
    ours.close(), theirs.close()


def test_a_watch_is_asked_now_and_then_and_what_it_raises_ends_the_wait():
    ours, theirs = map(Channel, socket.socketpair())
    looks = []
    with pytest.raises(TimeoutError):
        ours.receive(0.3, lambda: looks.append(1))
    assert 3 <= len(looks) <= 8

    def watch():
        raise Exceeded("error: too much")

    with pytest.raises(Exceeded):
        Channel(theirs.sock).receive(5, watch)
    ours.send(END, 5, lambda: None)
    ours.close(), theirs.close()
