"""Plain data across the wall: what crosses arrives as it was, and no bytes do harm."""

import socket
import struct
import tracemalloc

import msgpack
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from labcheck.inside import wire
from labcheck.inside.channel import Channel, Closed
from labcheck.inside.wire import Handle, Opaque, WireError, pack, unpack

SHAPES = st.lists(st.integers(0, 3), max_size=4).map(tuple)
NUMPY_DTYPES = [np.bool_, "u1", "i1", "i2", "i4", "i8", "f2", "f4", "f8", "c8", "c16"]


@st.composite
def tensors(draw):
    """A tensor of any dtype that crosses, with any bits in it."""
    dtype = draw(st.sampled_from(list(wire._DTYPES.values())))
    shape = draw(SHAPES)
    count = int(np.prod(shape)) * dtype.itemsize
    raw = draw(st.binary(min_size=count, max_size=count))
    if dtype is torch.bool:
        raw = bytes(byte & 1 for byte in raw)
    return torch.frombuffer(bytearray(raw), dtype=dtype).reshape(shape) if raw else torch.empty(shape, dtype=dtype)


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(max_size=20),
    tensors(),
    hnp.arrays(st.sampled_from(NUMPY_DTYPES).map(np.dtype), hnp.array_shapes(min_dims=0, min_side=0, max_side=3)),
    st.builds(Handle, st.integers(0, 10**6), st.text(max_size=20)),
    st.builds(Opaque, st.text(max_size=20)),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.text(max_size=5), inner, max_size=4),
    ),
    max_leaves=8,
)
# Trees of what msgpack can carry, with our tags at the places where they matter.
TREES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(), st.text(max_size=5),
        st.binary(max_size=20), st.sampled_from([*wire._DTYPES]),
    ),
    lambda inner: st.builds(
        lambda tag, rest: [tag, *rest],
        st.sampled_from(["list", "tuple", "dict", "tensor", "array", "generator", "handle", "opaque", "no tag"]),
        st.lists(inner, max_size=4),
    ) | st.lists(inner, max_size=3),
    max_leaves=10,
)  # fmt: skip


def same(one, other) -> bool:
    """Whether two values are of the same types, with the same bits."""
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        bits = [t.contiguous().reshape(-1).view(torch.uint8) if t.numel() else t for t in (one, other)]
        return one.dtype == other.dtype and one.shape == other.shape and torch.equal(*bits)
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    if isinstance(one, float):
        return struct.pack("d", one) == struct.pack("d", other)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    return one == other


@settings(max_examples=200, deadline=None)
@given(VALUES)
def test_what_crosses_arrives_as_it_was(value):
    assert same(unpack(pack(value)), value)


def test_a_generator_arrives_with_its_state():
    generator = torch.Generator().manual_seed(5)
    torch.randn(3, generator=generator)
    arrived = unpack(pack(generator))
    assert torch.equal(torch.randn(9, generator=arrived), torch.randn(9, generator=generator))


@pytest.mark.parametrize(
    ("value", "arrives"),
    [
        (np.float64(0.5), 0.5),
        (np.float32(0.5), 0.5),
        (np.int16(-3), -3),
        (np.bool_(True), True),
        (type("Name", (str,), {})("a"), "a"),
        (torch.nn.Parameter(torch.ones(2)), torch.ones(2)),
        (torch.arange(6).reshape(2, 3).T, torch.tensor([[0, 3], [1, 4], [2, 5]])),
        (torch.zeros(1).expand(2, 2), torch.zeros(2, 2)),
        (torch.tensor([1 + 2j]).conj(), torch.tensor([1 - 2j])),
        (np.arange(6).reshape(2, 3)[:, ::-1], np.array([[2, 1, 0], [5, 4, 3]])),
    ],
    ids=str,
)
def test_relatives_of_plain_data_arrive_as_plain_data(value, arrives):
    assert same(unpack(pack(value)), arrives)


def test_a_received_tensor_shares_no_memory_with_the_message():
    data = pack(torch.zeros(3))
    unpack(data).add_(1)
    assert torch.equal(unpack(data), torch.zeros(3))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({1, 2}, "type set"),
        (object(), "type object"),
        (b"bytes", "type bytes"),
        (1j, "type complex"),
        (print, "builtin_function"),
        ({1: 2}, "keys that are not strings"),
        (2**63, "64 bits"),
        (-(2**63) - 1, "64 bits"),
        ("\ud800", "cannot be sent"),
        (torch.ones(2, 2).to_sparse(), "sparse"),
        (torch.empty(2, device="meta"), "meta"),
        (np.array([object()]), "dtype object"),
        (np.array(["text"]), "dtype <U4"),
        (torch.zeros(1).expand(2**40), "elements"),
    ],
)
def test_what_may_not_cross_is_refused_by_name(value, reason):
    with pytest.raises(WireError, match=reason):
        pack([value])


def _nested(depth):
    value = 1
    for _ in range(depth):
        value = [value]
    return value


def _nested_tree(depth):
    tree = 1
    for _ in range(depth):
        tree = ["list", tree]
    return tree


def test_depth_is_capped_on_both_sides():
    assert unpack(pack(_nested(wire.MAX_DEPTH))) == _nested(wire.MAX_DEPTH)
    with pytest.raises(WireError, match="deep"):
        pack(_nested(wire.MAX_DEPTH + 1))
    with pytest.raises(WireError, match="deep"):
        unpack(msgpack.packb(_nested_tree(wire.MAX_DEPTH + 1)))


def test_a_value_that_holds_itself_is_too_deep():
    circle = []
    circle.append(circle)
    with pytest.raises(WireError, match="deep"):
        pack(circle)


def test_items_are_capped_on_both_sides():
    most = [0] * (wire.MAX_ITEMS - 1)  # the list is an item too
    assert unpack(pack(most)) == most
    with pytest.raises(WireError, match="items"):
        pack([0] * wire.MAX_ITEMS)
    with pytest.raises(WireError):
        unpack(msgpack.packb(["list", *[0] * wire.MAX_ITEMS]))
    with pytest.raises(WireError, match="items"):
        unpack(msgpack.packb(["list", *[["list", *[0] * 999]] * 101]))


def test_text_is_capped_on_both_sides():
    longest = "ü" * wire.MAX_TEXT
    assert unpack(pack(longest)) == longest
    with pytest.raises(WireError, match="characters"):
        pack(longest + "a")
    with pytest.raises(WireError, match="characters"):
        unpack(msgpack.packb(longest + "a"))


def test_bytes_are_capped_on_both_sides(monkeypatch):
    tensors = [torch.zeros(100, dtype=torch.uint8)] * 11
    data = pack(tensors)
    monkeypatch.setattr(wire, "MAX_MESSAGE", 1000)
    assert len(unpack(pack(tensors[:8]))) == 8
    with pytest.raises(WireError, match="bytes"):
        pack(tensors)
    with pytest.raises(WireError, match="bytes"):
        unpack(data)


def test_a_message_of_empty_lists_is_refused_before_it_fills_the_memory(monkeypatch):
    monkeypatch.setattr(wire, "_MAX_ENTRIES", 10_000)
    bomb = msgpack.packb([[[]] * 1000] * 1000)  # a byte each on the wire, 64 in memory
    tracemalloc.start()
    try:
        with pytest.raises(WireError):
            unpack(bomb)
        assert tracemalloc.get_traced_memory()[1] < 5 * 2**20
    finally:
        tracemalloc.stop()


HOSTILE = {
    "a map": {},
    "bytes": b"abc",
    "a list without a type": [],
    "a list whose type is a number": [1, 2],
    "an unknown type": ["pickle", b"cos\nsystem\n"],
    "an extension": msgpack.ExtType(5, b"abc"),
    "a time": msgpack.Timestamp(0),
    "a dict of no pairs": ["dict", 5],
    "a dict with a triple": ["dict", ["a", 1, 2]],
    "a dict with a key of bytes": ["dict", [b"a", 1]],
    "a tensor of nothing": ["tensor"],
    "a tensor of an unknown dtype": ["tensor", "float8", [1], b"a"],
    "a tensor whose dtype is a list": ["tensor", ["float32"], [1], b"abcd"],
    "a tensor of text": ["tensor", "uint8", [1], "a"],
    "a tensor with too few bytes": ["tensor", "float32", [2], b"abcd"],
    "a tensor with a negative axis": ["tensor", "uint8", [-1, -1], b"a"],
    "a tensor with a boolean axis": ["tensor", "uint8", [True], b"a"],
    "a tensor with a float axis": ["tensor", "uint8", [1.0], b"a"],
    "a tensor of 17 axes": ["tensor", "uint8", [1] * 17, b"a"],
    "a tensor with an axis beyond 31 bits": ["tensor", "uint8", [2**31, 0], b""],
    "an empty tensor with strides beyond 64 bits": ["tensor", "uint8", [2**30, 2**30, 2**30, 0], b""],
    "another of these": ["tensor", "float64", [0, 2**30, 2**30, 2**30], b""],
    "a boolean of 2": ["tensor", "bool", [1], b"\x02"],
    "an array of bfloat16": ["array", "bfloat16", [1], b"ab"],
    "a generator without a state": ["generator", b""],
    "a generator with a short state": ["generator", b"abc"],
    "a generator with a state of zeros": ["generator", bytes(5056)],
    "a handle of True": ["handle", True, "function"],
    "a handle of text": ["handle", "0", "function"],
    "an opaque number": ["opaque", 5],
}


@pytest.mark.parametrize("tree", HOSTILE.values(), ids=HOSTILE)
def test_malformed_messages_are_refused(tree):
    for message in (tree, ["list", tree], ["dict", ["key", tree]]):
        with pytest.raises(WireError):
            unpack(msgpack.packb(message))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x91" * 5000 + b"\xc0",  # deeper than any stack
        b"\xdd\xff\xff\xff\xff",  # a list of four thousand million entries, none of them there
        b"\xc6\xff\xff\xff\xff",  # bytes likewise
        b"\xdb\xff\xff\xff\xff",  # text likewise
        b"\xa2\xff\xff",  # text that is not UTF-8
        b"\xc1",  # never used
        b"\xc0\xc0",  # two messages
    ],
    ids=repr,
)
def test_damaged_bytes_are_refused(data):
    with pytest.raises(WireError):
        unpack(data)


def test_long_names_of_types_are_cut():
    assert unpack(msgpack.packb(["opaque", "a" * 5000])) == Opaque("a" * 200)
    assert unpack(msgpack.packb(["handle", 1, "a" * 5000])) == Handle(1, "a" * 200)


def _only_wire_errors(data):
    try:
        unpack(data)
    except WireError:
        return


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60))
def test_no_bytes_raise_anything_but_a_wire_error(data):
    _only_wire_errors(data)


@settings(max_examples=300, deadline=None)
@given(TREES)
def test_no_tree_raises_anything_but_a_wire_error(tree):
    _only_wire_errors(msgpack.packb(tree))


@settings(max_examples=200, deadline=None)
@given(VALUES, st.data())
def test_no_damaged_message_raises_anything_but_a_wire_error(value, data):
    message = bytearray(pack(value))
    for _ in range(data.draw(st.integers(1, 4))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    _only_wire_errors(bytes(message[: data.draw(st.integers(0, len(message)))]))
    _only_wire_errors(bytes(message))


@pytest.fixture
def channels():
    pair = [Channel(end) for end in socket.socketpair()]
    yield pair
    for channel in pair:
        channel.close()


def test_a_channel_carries_messages_in_order(channels):
    ours, theirs = channels
    for message in (b"one", b"", b"three" * 1000):
        ours.send(message, 5)
    assert [theirs.receive(5) for _ in range(3)] == [b"one", b"", b"three" * 1000]


def test_a_channel_keeps_its_deadlines(channels):
    ours, theirs = channels
    with pytest.raises(TimeoutError):
        ours.receive(0.05)
    with pytest.raises(TimeoutError):
        ours.receive(0)
    theirs.sock.send(struct.pack("!Q", 10) + b"half")
    with pytest.raises(TimeoutError):
        ours.receive(0.05)
    with pytest.raises(TimeoutError):  # nobody reads
        ours.send(bytes(2**24), 0.05)


def test_a_channel_says_that_the_other_side_is_gone(channels):
    ours, theirs = channels
    theirs.close()
    with pytest.raises(Closed):
        ours.receive(5)
    with pytest.raises(Closed):
        ours.send(bytes(2**24), 5)


def test_a_channel_reads_no_message_beyond_the_cap(channels):
    ours, theirs = channels
    theirs.sock.send(struct.pack("!Q", wire.MAX_MESSAGE + 1))
    with pytest.raises(WireError, match="bytes"):
        ours.receive(5)
