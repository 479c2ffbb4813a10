"""Whatever bytes come from the sandbox, the judge gives a verdict without points: no error, no wait, no growth."""

import contextlib
import socket
import struct
import threading
import time

import hypothesis.strategies as st
import msgpack
import numpy as np
import psutil
import pytest
from hypothesis import given, settings

from labcheck import judge as judge_module
from labcheck import sandbox as sandbox_module
from labcheck.inside.channel import Channel, Closed
from labcheck.inside.loading import Cell
from labcheck.inside.wire import CLOSE, END, MAX_MESSAGE, OPEN, Handle, WireError, pack, unpack
from labcheck.judge import Limits, Verdict, judge
from labcheck.sandbox import Sandbox
from tests.labcheck.submitting import LAB, framed

CELLS = [
    Cell("double", "def double(x):\n    return x + x", answer=True),
    Cell("apply_twice", "def apply_twice(f, x):\n    return f(f(x))", answer=True),
]
LIMITS = Limits(seconds=0.004)  # 0.024 seconds of patience for a check, 0.24 for a submission
MARGIN = 0.01
fuzz = settings(deadline=None, derandomize=True, database=None)


class Played(Sandbox):
    """A sandbox whose driver is a thread that answers as it is told.

    Args:
        loads: what it does when it is to load cells, one after the other; then it loads them.
        replies: what it does when a check calls.
    """

    def __init__(self, loads, replies):
        super().__init__(LAB, walls=False)
        self.loads, self.replies = iter(loads), iter(replies)
        self.starts = 0

    def _start(self):
        self.starts += 1
        self._used = self._opened = self._waiting = False
        ours, theirs = socket.socketpair()
        self.channel = Channel(ours)
        driver = threading.Thread(target=self._drive, args=(theirs,), daemon=True)
        driver.start()
        self._stack.callback(driver.join, 5)
        self._stack.callback(self.channel.close)

    def _drive(self, sock):
        requests = Channel(sock)
        with contextlib.suppress(Closed, TimeoutError, OSError), sock:
            while True:
                request = requests.receive(30)
                if request in (OPEN, END, CLOSE):
                    continue
                op = unpack(request)["op"]
                if op == "load":
                    next(self.loads, LOADED)(sock)
                elif op != "begin":
                    next(self.replies, close)(sock)


def sends(data: bytes):
    """What a driver does: send bytes."""

    def act(sock):
        sock.sendall(data)

    act.__qualname__ = act.__name__ = f"sends {data[:60]!r}"
    return act


def drips(sock):
    """A byte at a time, for longer than anybody waits."""
    for byte in framed(bytes(1000)):
        sock.sendall(bytes([byte]))
        time.sleep(0.01)


def close(sock):
    """Be gone."""
    sock.shutdown(socket.SHUT_RDWR)


def nothing(sock):
    """Be silent."""


LOADED = sends(framed(pack({"loaded": []})))

# Plain data: of the right shape by chance, and with the names that the protocol knows.
scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=20)
names = st.sampled_from(
    ["loaded", "ended", "cell", "value", "missing", "wrong", "error", "requires_grad", "kept_requires_grad",
     "global_draws", "arguments", "grads", "parameter_grads", "type", "message", "where", "double", "apply_twice"]
)  # fmt: skip
tensors = st.sampled_from(
    [["tensor", "float32", [2], bytes(8)], ["array", "int64", [2], bytes(16)], ["tensor", "bool", [0, 3], b""],
     ["array", "float32", [], bytes(4)], ["tensor", "complex64", [1], bytes(8)], ["handle", 0, "function"],
     ["handle", 2**64 - 1, ""], ["handle", -5, "x"], ["opaque", "P"]]
)  # fmt: skip
values = st.recursive(
    scalars | names | tensors,
    lambda inner: (
        st.builds(lambda rows: ["list", *rows], st.lists(inner, max_size=4))
        | st.builds(lambda rows: ["tuple", *rows], st.lists(inner, max_size=3))
        | st.builds(lambda rows: ["dict", *map(list, rows)], st.lists(st.tuples(names, inner), max_size=6))
    ),
    max_leaves=12,
)
calls = st.builds(  # replies to a call that lack nothing, and hold anything
    lambda rows: ["dict", *([name, value] for name, value in rows.items())],
    st.fixed_dictionaries(
        {name: values for name in ("value", "requires_grad", "kept_requires_grad", "global_draws")},
        optional={name: values for name in ("arguments", "grads", "parameter_grads")},
    ),
)
loads = st.builds(
    lambda name, value: ["dict", [name, value], ["cell", value]], st.sampled_from(["loaded", "ended", "x"]), values
)
problems = st.builds(
    lambda rows: ["dict", ["loaded", ["list", *(["list", *row] for row in rows)]]],
    st.lists(st.lists(values, max_size=4), max_size=3),
)
endings = st.builds(
    lambda why, cell: ["dict", ["ended", why], ["cell", cell]], values, st.sampled_from(["double", "apply_twice"])
)
messages = (values | calls | loads | problems | endings).map(lambda tree: msgpack.packb(tree, use_bin_type=True))


@st.composite
def damaged(draw):
    """A message with bytes changed, left out or put in."""
    data = bytearray(draw(messages))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(data)))
        data[place : place + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(data)


@st.composite
def acts(draw):
    """What a hostile driver does where a reply is expected."""
    message = draw(st.one_of(st.binary(max_size=60), messages, damaged()))
    way = draw(st.sampled_from(["framed"] * 12 + ["raw", "twice", "cut", "long", "huge", "drips", "close", "nothing"]))
    length = draw(st.integers(0, 2**64 - 1))
    return {
        "framed": sends(framed(message)),
        "raw": sends(message),
        "twice": sends(framed(message) * 2),
        "cut": sends(framed(message)[:-1]),
        "long": sends(struct.pack("!Q", len(message) + length % MAX_MESSAGE) + message),
        "huge": sends(struct.pack("!Q", length) + message),
        "drips": drips,
        "close": close,
        "nothing": nothing,
    }[way]


@pytest.fixture(scope="module")
def battery(unbuilt):
    return unbuilt.battery(LAB)


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    """Short waits: what is tested is that they end."""
    monkeypatch.setattr(judge_module, "_MARGIN", MARGIN)
    monkeypatch.setattr(sandbox_module, "_MESSAGE_SECONDS", 0.5)


LONGEST = LIMITS.submission + 20 * (MARGIN + LIMITS.patience) + 5  # seconds; the last for a machine that is busy


def judged(battery, loads, replies) -> Verdict:
    """The verdict on right cells whose driver lies, in bounded time."""
    start = time.monotonic()
    with Played(loads, replies) as sandbox:
        verdict = judge(battery, CELLS, sandbox, seed=1, limits=LIMITS)
    assert time.monotonic() - start < LONGEST
    assert [check.task for check in verdict.checks] == [check.task for check in battery.checks]
    assert sandbox.starts <= 1 + len(battery.checks) + 1
    verdict.as_dict()
    return verdict


@settings(fuzz, max_examples=250)
@given(st.lists(acts(), min_size=8, max_size=12))
def test_no_reply_to_a_call_gives_a_point_or_raises(battery, replies):
    verdict = judged(battery, [], replies)
    assert verdict.score == 0
    assert "passed" not in {check.status for check in verdict.checks}


@settings(fuzz, max_examples=120)
@given(st.lists(acts(), min_size=1, max_size=8), st.lists(acts(), max_size=3))
def test_no_reply_to_a_load_gives_a_point_or_raises(battery, loads, replies):
    verdict = judged(battery, loads, replies)
    assert verdict.score == 0
    for problem in verdict.problems:
        assert isinstance(problem.cell, str) and type(problem.line) is int and len(problem.message) <= 600


def test_replies_to_hurt_a_judge_are_told_and_no_more(battery):
    bad = [
        {"loaded": [1]}, {"loaded": [["f"]]}, {"loaded": [["f", 1, 2]]}, {"loaded": [[{}, "x", None]]},
        {"ended": 5, "cell": []}, {"ended": "x", "cell": {}}, {"cell": "nowhere"}, [], None, Handle(0), "loaded",
    ]  # fmt: skip
    for reply in bad:
        assert judged(battery, [sends(framed(pack(reply)))] * 10, []).score == 0
    arrays = {"ended": "x", "cell": np.zeros(3)}
    assert judged(battery, [sends(framed(pack(arrays)))] * 10, []).score == 0


@pytest.mark.parametrize("content", [bytes(MAX_MESSAGE - 8), b"\x91" * (MAX_MESSAGE - 8), None])
def test_the_largest_replies_leave_the_judge_as_large_as_before(battery, content):
    if content is None:
        content = msgpack.packb(["list", *(["tensor", "uint8", [2**20], bytes(2**20)] for _ in range(60))])
    act = sends(framed(content))
    judged(battery, [], [act])
    process = psutil.Process()
    before = process.memory_info().rss
    for _ in range(5):
        judged(battery, [], [act] * 8)
        # After up to 40 such messages: the allocator keeps some of one or two, in whichever round.
        assert process.memory_info().rss - before < 2 * MAX_MESSAGE


@settings(fuzz, max_examples=200)
@given(st.binary(max_size=40) | messages | damaged())
def test_no_bytes_on_a_channel_raise_anything_but_its_own_errors(data):
    for stream in (data, framed(data)):
        ours, theirs = map(Channel, socket.socketpair())
        theirs.sock.sendall(stream)
        theirs.close()
        with contextlib.suppress(Closed, TimeoutError, WireError):
            unpack(ours.receive(1))
        ours.close()


# Student code that finds the channel of its process, and writes what it likes there, in the real sandbox.
FORGER = """
import os, stat, struct, time
import msgpack, torch
from labcheck.inside.wire import pack

def sockets():
    found = []
    for n in range(3, 256):
        try:
            if stat.S_ISSOCK(os.fstat(n).st_mode):
                found.append(n)
        except OSError:
            pass
    return found

def framed(message):
    return struct.pack("!Q", len(message)) + message

FORGED = {
    "loaded": framed(pack({"loaded": [["f", 1, "x"]] * 3})),
    "rows": framed(pack({"loaded": [[1], "x", {}, ["f", 2**62, "y" * 90000]]})),
    "large number": framed(msgpack.packb(["dict", ["loaded", ["list", ["list", "f", 2**64 - 1, "m"]]]])),
    "loading": framed(pack({"loading": 5})) * 50,
    "signal": framed(pack({"signal": 9, "seconds": float("nan")})) * 5,
    "no signal": framed(pack({"signal": -1, "seconds": "x"})) * 5,
    "reply": framed(pack({"value": torch.zeros(2), "requires_grad": False})) * 3,
    "end": framed(pack({"op": "end"})) + framed(pack({"op": "close"})) + framed(pack({"op": "open"})),
    "bytes": bytes(range(256)) * 100,
    "length": struct.pack("!Q", 2**63) + bytes(100),
    "half": struct.pack("!Q", 2**20) + bytes(100),
    "flood": framed(bytes(2**20)) * 30,
}
def forge(name):
    for number in sockets():
        os.set_blocking(number, True)
        try:
            os.write(number, FORGED[name])
        except OSError:
            pass
"""
FORGED = ["loaded", "rows", "large number", "loading", "signal", "no signal", "reply", "end", "bytes", "length",
          "half", "flood"]  # fmt: skip
WHEN = {
    "while loading": "X = forge({name!r})\ndef double(x):\n    return x",
    "in a check": "def double(x):\n    forge({name!r})\n    return x",
    "from a check to the keeper": (
        "HELD = [os.dup(n) for n in sockets()]\ndef double(x):\n    forge({name!r})\n    return x"
    ),
}


@pytest.fixture(scope="module")
def forged(unbuilt):
    """One warm sandbox for all of them: the next submission must not feel the one before."""
    places = {"packages": ["tinycourse"], "fixtures": "tinycourse.checks.fixtures"}
    with Sandbox(LAB, forbidden=unbuilt.unavailable(LAB), **places) as sandbox:
        yield sandbox


@pytest.mark.grading
@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("name", FORGED)
def test_forged_messages_to_the_keeper_gain_nothing_and_harm_nobody(battery, forged, monkeypatch, name, when):
    monkeypatch.setattr(judge_module, "_MARGIN", 5.0)
    monkeypatch.setattr(sandbox_module, "_MESSAGE_SECONDS", 30.0)
    cells = [Cell("double", FORGER + WHEN[when].format(name=name), answer=True), CELLS[1]]
    start = time.monotonic()
    verdict = judge(battery, cells, forged, seed=1, limits=Limits(seconds=0.2))
    assert time.monotonic() - start < 60
    assert sum(check.score for check in verdict.of("double")) == 0
    assert judge(battery, CELLS, forged, seed=1).score == 4
