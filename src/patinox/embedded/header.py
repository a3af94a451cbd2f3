"""The container format of GGUF: keys and values, then what tensors there are and where.

Only the header is read, never the weights, and never through a memory map: a file that is cut
short while it is mapped kills the process that reads it.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import math
import os
import struct
from collections.abc import Callable, Collection
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, TypeAlias, TypeVar

__all__ = ["BadGGUF", "Header", "Metadata", "Scalar", "Tensor", "read_header"]

Scalar: TypeAlias = int | float | bool | str
Metadata: TypeAlias = dict[str, Scalar | None]
"""Single values by key; a key that holds an array is there with `None`."""

Item = TypeVar("Item")

_SUPPORTED_VERSIONS: Final = (2, 3)
_READ_BYTES: Final = 1 << 20
_MAX_HEADER_BYTES: Final = 256 << 20  # the largest vocabularies take some 20 MB
_MAX_DIMENSIONS: Final = 4
_MAX_ELEMENTS: Final = 1 << 50
_DEFAULT_ALIGNMENT: Final = 32

_UINT32: Final = struct.Struct("<I")
_UINT64: Final = struct.Struct("<Q")
_STRING: Final = 8
_ARRAY: Final = 9
_NUMBERS: Final = {
    code: struct.Struct(f"<{letter}")
    for code, letter in zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIif?Qqd", strict=True)
}

# Type of a tensor -> (elements in a block, bytes of a block). Other types are not measured.
_BLOCKS: Final = {
    0: (1, 4),  # F32
    1: (1, 2),  # F16
    2: (32, 18),  # Q4_0
    3: (32, 20),  # Q4_1
    6: (32, 22),  # Q5_0
    7: (32, 24),  # Q5_1
    8: (32, 34),  # Q8_0
    9: (32, 36),  # Q8_1
    10: (256, 84),  # Q2_K
    11: (256, 110),  # Q3_K
    12: (256, 144),  # Q4_K
    13: (256, 176),  # Q5_K
    14: (256, 210),  # Q6_K
    15: (256, 292),  # Q8_K
    16: (256, 66),  # IQ2_XXS
    17: (256, 74),  # IQ2_XS
    18: (256, 98),  # IQ3_XXS
    19: (256, 50),  # IQ1_S
    20: (32, 18),  # IQ4_NL
    21: (256, 110),  # IQ3_S
    22: (256, 82),  # IQ2_S
    23: (256, 136),  # IQ4_XS
    24: (1, 1),  # I8
    25: (1, 2),  # I16
    26: (1, 4),  # I32
    27: (1, 8),  # I64
    28: (1, 8),  # F64
    29: (256, 56),  # IQ1_M
    30: (1, 2),  # BF16
    34: (256, 54),  # TQ1_0
    35: (256, 66),  # TQ2_0
    39: (32, 17),  # MXFP4
}


class BadGGUF(ValueError):
    """The file is no GGUF model that an engine could load; the message says why."""


class Tensor(NamedTuple):
    """One tensor of the file: its shape, and where its data is."""

    name: str
    shape: tuple[int, ...]
    type: int
    offset: int
    """Where its data starts, in bytes from the start of all data."""

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)

    def end(self) -> int:
        """Where its data ends: a lower bound for a type whose size is not known."""
        if self.type not in _BLOCKS:
            return self.offset
        elements, size = _BLOCKS[self.type]
        if self.shape and self.shape[0] % elements:
            raise BadGGUF(f"tensor {self.name!r}: rows of {self.shape[0]} in blocks of {elements}")
        return self.offset + self.elements // elements * size


class Header(NamedTuple):
    """All that comes before the weights, and the size of the whole file."""

    metadata: Metadata
    tensors: tuple[Tensor, ...]
    size_bytes: int


def read_header(path: Path) -> Header:
    """Read the header at `path`, and check that all of its tensors lie within the file.

    Raises `BadGGUF` with the reason, `OSError` if the file cannot be read.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        reader = _Reader(file, size)
        if size == 0:
            raise BadGGUF("an empty file")
        if reader.take(4) != b"GGUF":
            raise BadGGUF("not a GGUF file: it does not start with `GGUF`")
        if (version := reader.uint32()) not in _SUPPORTED_VERSIONS:
            raise BadGGUF(f"GGUF version {version} is not supported")
        tensor_count, key_count = reader.uint64(), reader.uint64()
        metadata = _unique(reader.pair, key_count, "key")
        named = _unique(reader.tensor, tensor_count, "tensor")
    tensors = tuple(named.values())
    _check_extent(metadata, tensors, header_end=reader.position, size=size)
    return Header(metadata, tensors, size)


def _unique(read: Callable[[], tuple[str, Item]], count: int, kind: str) -> dict[str, Item]:
    items: dict[str, Item] = {}
    for _ in range(count):
        name, item = read()
        if name in items:
            raise BadGGUF(f"{kind} {name!r} is there twice")
        items[name] = item
    return items


def _check_extent(
    metadata: Metadata, tensors: Collection[Tensor], *, header_end: int, size: int
) -> None:
    alignment = metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
    if not isinstance(alignment, int) or alignment <= 0 or alignment & (alignment - 1):
        raise BadGGUF(f"`general.alignment` is {alignment}, not a power of two")
    data_start = -(-header_end // alignment) * alignment
    needed = data_start + max((tensor.end() for tensor in tensors), default=0)
    if any(tensor.offset % alignment for tensor in tensors):
        raise BadGGUF(f"a tensor does not start at a multiple of {alignment} bytes")
    if needed > size and tensors:
        raise BadGGUF(f"cut short: {size} of at least {needed} bytes are there")


class _Reader:
    """A cursor over the header of a file: takes values, or raises `BadGGUF` where it ends."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.position = 0
        self._file = file
        self._size = size
        self._buffer = bytearray()

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        self._have(count)
        start, self.position = self.position, self.position + count
        return bytes(self._buffer[start : self.position])

    def scalar(self, layout: struct.Struct) -> Scalar:
        """The next number or truth value."""
        value: Scalar = layout.unpack(self.take(layout.size))[0]
        return value

    def uint32(self) -> int:
        """The next 32-bit number."""
        return int(self.scalar(_UINT32))

    def uint64(self) -> int:
        """The next 64-bit number."""
        return int(self.scalar(_UINT64))

    def string(self) -> str:
        """The next string. llama.cpp does not check the encoding either."""
        return self.take(self.uint64()).decode("utf-8", "replace")

    def pair(self) -> tuple[str, Scalar | None]:
        """The next key of the metadata and its value."""
        key, kind = self.string(), self.uint32()
        if kind in _NUMBERS:
            return key, self.scalar(_NUMBERS[kind])
        if kind == _STRING:
            return key, self.string()
        if kind != _ARRAY:
            raise BadGGUF(f"key {key!r} has a value of the unknown type {kind}")
        self._skip_array(key)
        return key, None

    def tensor(self) -> tuple[str, Tensor]:
        """The next tensor's name, and where and what it is."""
        name, dimensions = self.string(), self.uint32()
        if dimensions > _MAX_DIMENSIONS:
            raise BadGGUF(f"tensor {name!r} has {dimensions} dimensions")
        shape = tuple(self.uint64() for _ in range(dimensions))
        if not 0 < math.prod(shape) <= _MAX_ELEMENTS:
            raise BadGGUF(f"tensor {name!r} has the impossible shape {shape}")
        return name, Tensor(name, shape, self.uint32(), self.uint64())

    def _skip_array(self, key: str) -> None:
        kind, count = self.uint32(), self.uint64()
        if kind in _NUMBERS:
            size = count * _NUMBERS[kind].size
            self._have(size)
            self.position += size
        elif kind == _STRING:
            self._skip_strings(count)
        else:
            raise BadGGUF(f"key {key!r} has an array of the unknown type {kind}")

    def _skip_strings(self, count: int) -> None:
        # A vocabulary has 10^5 strings: this loop is the cost of reading a header.
        at, length_of, width = self.position, _UINT64.unpack_from, _UINT64.size
        for _ in range(count):
            if at + width > len(self._buffer):
                self.position = at
                self._have(width)
            at += width + length_of(self._buffer, at)[0]
        self.position = at
        self._have(0)

    def _have(self, count: int) -> None:
        """Make sure that the next `count` bytes are in the buffer."""
        end = self.position + count
        if end > self._size:
            raise BadGGUF("cut short: its header does not fit the file")
        if end > _MAX_HEADER_BYTES:
            raise BadGGUF(f"its header is longer than {_MAX_HEADER_BYTES} bytes")
        missing = end - len(self._buffer)
        if missing > 0:
            self._buffer += self._file.read(max(missing, _READ_BYTES))
        if end > len(self._buffer):
            raise BadGGUF("cut short while it was read")
