"""Plain data across the wall between judge and sandbox.

Values travel as msgpack: numbers, strings, containers, arrays, and references to objects that
stay on the sandbox's side. Nothing is ever unpickled. Both directions use the same code, and the
receiving side trusts nothing: every size, type, shape and depth is checked before it is used.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np
import torch

MAX_MESSAGE = 64 * 2**20  # bytes in one message
MAX_DEPTH = 12  # nested containers
MAX_ITEMS = 100_000  # leaves and containers in one value
MAX_TEXT = 2**18  # characters in one string; a cell's source is one
_MAX_ENTRIES = 24 * MAX_ITEMS  # entries of all lists of one message; a tensor of 16 axes takes 22

_DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64,
        torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128,
    )
}  # fmt: skip


Message = dict[str, Any]  # plain data by the names of its fields


class WireError(ValueError):
    """A value that may not cross: unknown type, too large, too deep, or malformed."""


@dataclass(frozen=True)
class Handle:
    """An object that stays in the sandbox: a callable, a module, a fixture.

    Attributes:
        index: its number in the session that made it.
        kind: the name of its type, for messages.
    """

    index: int
    kind: str = "object"


@dataclass(frozen=True)
class Opaque:
    """A returned value of a type that does not cross; only the name of its type does."""

    kind: str


def pack(value: Any) -> bytes:
    """Encode a value.

    Args:
        value: None, bool, int of 64 bits, float, str, list, tuple, dict with string keys, numpy
            array or scalar, dense torch tensor, ``torch.Generator`` (its state), Handle, Opaque,
            or any nesting of these.

    Returns:
        At most ``MAX_MESSAGE`` bytes.

    Raises:
        WireError: the value holds something else, or exceeds a cap.
    """
    try:
        data: bytes = msgpack.packb(_Flattener().flatten(value, 0), use_bin_type=True)
    except (OverflowError, UnicodeEncodeError) as error:
        raise WireError(f"the value cannot be sent: {error}") from None
    if len(data) > MAX_MESSAGE:
        raise WireError(f"the value takes {len(data):,} bytes; at most {MAX_MESSAGE:,} may be sent")
    return data


def unpack(data: bytes) -> Any:
    """Decode what `pack` made, or raise WireError; never anything else, whatever the bytes are."""
    if len(data) > MAX_MESSAGE:
        raise WireError(f"a message of {len(data):,} bytes; at most {MAX_MESSAGE:,} may be received")
    entries = 0

    # A byte on the wire is up to 64 bytes in memory, so a value is measured while it is built.
    def count(row: list[Any]) -> list[Any]:
        nonlocal entries
        entries += 1 + len(row)
        if entries > _MAX_ENTRIES:
            raise ValueError("too many entries")
        return row

    limits = {"max_map_len": 0, "max_ext_len": 0, "max_array_len": MAX_ITEMS + 1}
    try:
        tree = msgpack.unpackb(data, raw=False, strict_map_key=True, list_hook=count, **limits)
    except (ValueError, RecursionError, TypeError) as error:
        raise WireError(f"not a message: {type(error).__name__}") from None
    return _Builder().build(tree, 0)


class _Flattener:
    """Turns a value into nested lists whose first entry names the type."""

    def __init__(self) -> None:
        self.items = 0

    def flatten(self, value: Any, depth: int) -> Any:
        self.items += 1
        if depth > MAX_DEPTH:
            raise WireError(f"containers nested more than {MAX_DEPTH} deep")
        if self.items > MAX_ITEMS:
            raise WireError(f"more than {MAX_ITEMS:,} items")
        if value is None or type(value) in (bool, float):
            return value
        if type(value) is int:
            if not -(2**63) <= value < 2**63:
                raise WireError("an integer of more than 64 bits")
            return value
        if isinstance(value, str):
            if len(value) > MAX_TEXT:
                raise WireError(f"a string of {len(value):,} characters; at most {MAX_TEXT:,} may be sent")
            return str(value)
        if isinstance(value, torch.Tensor):
            return self._tensor(value)
        if isinstance(value, np.ndarray):
            try:
                tensor = torch.from_numpy(np.ascontiguousarray(value).reshape(value.shape))
            except TypeError:
                raise WireError(f"a numpy array of dtype {value.dtype}") from None
            return ["array", *self._tensor(tensor)[1:]]
        if isinstance(value, (np.bool_, np.integer, np.floating)):
            return self.flatten(value.item(), depth)
        if isinstance(value, torch.Generator):
            return ["generator", value.get_state().numpy().tobytes()]
        if isinstance(value, Handle):
            return ["handle", value.index, value.kind]
        if isinstance(value, Opaque):
            return ["opaque", value.kind]
        if isinstance(value, (list, tuple)):
            tag = "tuple" if isinstance(value, tuple) else "list"
            return [tag, *(self.flatten(item, depth + 1) for item in value)]
        if isinstance(value, dict):
            if not all(isinstance(key, str) for key in value):
                raise WireError("a dict with keys that are not strings")
            return ["dict", *([str(key), self.flatten(item, depth + 1)] for key, item in value.items())]
        raise WireError(f"a value of type {type(value).__name__}")

    @staticmethod
    def _tensor(value: torch.Tensor) -> list[Any]:
        name = str(value.dtype).removeprefix("torch.")
        if name not in _DTYPES or value.layout is not torch.strided or value.device.type == "meta":
            raise WireError(f"a tensor of dtype {name}, layout {value.layout}, device {value.device}")
        if value.numel() * value.element_size() > MAX_MESSAGE:  # before copying: expanded tensors are small in memory
            raise WireError(f"a tensor of {value.numel():,} elements")
        flat = value.detach().resolve_conj().resolve_neg().cpu().contiguous().reshape(-1)
        raw = flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""
        return ["tensor", name, [int(n) for n in value.shape], raw]


class _Builder:
    """The inverse of `_Flattener`, for data that may be hostile."""

    def __init__(self) -> None:
        self.items = 0

    def build(self, tree: Any, depth: int) -> Any:
        self.items += 1
        if depth > MAX_DEPTH or self.items > MAX_ITEMS:
            raise WireError("a value too deep or with too many items")
        if tree is None or isinstance(tree, (bool, int, float)):
            if type(tree) is int and tree >= 2**63:  # msgpack reads 64 bits without a sign, too
                raise WireError("an integer of more than 64 bits")
            return tree
        if isinstance(tree, str):
            if len(tree) > MAX_TEXT:
                raise WireError(f"a string of {len(tree):,} characters")
            return tree
        if not isinstance(tree, list) or not tree or not isinstance(tree[0], str):
            raise WireError("a value without a type")
        tag, rest = tree[0], tree[1:]
        if tag == "list":
            return [self.build(item, depth + 1) for item in rest]
        if tag == "tuple":
            return tuple(self.build(item, depth + 1) for item in rest)
        if tag == "dict":
            return self._dict(rest, depth)
        if tag == "tensor":
            return self._tensor(rest)
        if tag == "array":
            tensor = self._tensor(rest)
            if tensor.dtype is torch.bfloat16:
                raise WireError("a numpy array of dtype bfloat16")
            return tensor.numpy()
        if tag == "generator" and len(rest) == 1 and isinstance(rest[0], bytes):
            return self._generator(rest[0])
        if tag == "handle" and len(rest) == 2 and type(rest[0]) is int and isinstance(rest[1], str):
            return Handle(rest[0], rest[1][:200])
        if tag == "opaque" and len(rest) == 1 and isinstance(rest[0], str):
            return Opaque(rest[0][:200])
        raise WireError("a value of unknown type")

    def _dict(self, pairs: list[Any], depth: int) -> dict[str, Any]:
        built = {}
        for pair in pairs:
            if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[0], str):
                raise WireError("a malformed dict")
            built[pair[0]] = self.build(pair[1], depth + 1)
        return built

    @staticmethod
    def _tensor(rest: list[Any]) -> torch.Tensor:
        if len(rest) != 3:
            raise WireError("a malformed tensor")
        name, shape, raw = rest
        dtype = _DTYPES.get(name) if isinstance(name, str) else None
        if dtype is None or not isinstance(raw, bytes) or not isinstance(shape, list) or len(shape) > 16:
            raise WireError("a malformed tensor")
        if not all(type(n) is int and 0 <= n < 2**31 for n in shape):
            raise WireError("a malformed tensor shape")
        if math.prod(shape) * dtype.itemsize != len(raw):
            raise WireError("a tensor whose bytes do not fit its shape")
        if not raw:
            try:
                return torch.empty(shape, dtype=dtype)
            except RuntimeError:  # no element, but strides beyond 64 bits
                raise WireError("a malformed tensor shape") from None
        if dtype is torch.bool and max(raw) > 1:
            raise WireError("a boolean tensor with other bytes than 0 and 1")
        return torch.frombuffer(bytearray(raw), dtype=dtype).reshape(shape)

    @staticmethod
    def _generator(raw: bytes) -> torch.Generator:
        generator = torch.Generator()
        try:
            generator.set_state(torch.frombuffer(bytearray(raw), dtype=torch.uint8))
        except (RuntimeError, ValueError):
            raise WireError("a malformed generator state") from None
        return generator


OPEN = pack({"op": "open"})  # a submission follows, which the driver itself does not read
END = pack({"op": "end"})  # of a check
CLOSE = pack({"op": "close"})  # of a submission
