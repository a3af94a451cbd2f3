"""Vectors as one flat block of 32-bit floats: small, fast, and free to hand to numpy."""

from __future__ import annotations

import math
import struct
import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import msgspec

_TOLERANCE = 1e-3


class EmbeddingMatrix(Sequence[list[float]]):
    """Equally long vectors, one row each, in one `array('f')`.

    It reads as a sequence of rows; `numpy.asarray(matrix)` shares the memory and does not copy.
    The shape is `(len(matrix), matrix.dimensions)`.
    """

    __slots__ = ("_data", "_dimensions", "_rows")

    def __init__(self, data: array[float], *, rows: int) -> None:
        """Wrap `data`, the rows one after the other; its length must be a multiple of `rows`."""
        if not isinstance(data, array):
            msg = f"the data must be an array('f'), not {type(data).__name__}"
            raise TypeError(msg)
        if data.typecode != "f":
            msg = f"the data must be an array('f'), not array({data.typecode!r})"
            raise ValueError(msg)
        if rows < 0 or (len(data) % rows if rows else len(data)):
            msg = f"{len(data)} numbers do not make {rows} equal rows"
            raise ValueError(msg)
        self._data = data
        self._rows = rows
        self._dimensions = len(data) // rows if rows else 0

    @classmethod
    def from_rows(cls, rows: Iterable[Iterable[float]]) -> EmbeddingMatrix:
        """Copy `rows` into one block; a number too large for 32 bits becomes infinite.

        Raises:
            TypeError: there is something else than numbers in them.
            ValueError: the rows are not equally long.
        """
        data: array[float] = array("f")
        lengths: list[int] = []
        for numbers in map(tuple, rows):
            try:
                data.frombytes(struct.pack(f"{len(numbers)}f", *numbers))
            except struct.error as error:
                msg = f"row {len(lengths)} is not made of numbers"
                raise TypeError(msg) from error
            lengths.append(len(numbers))
        if len(set(lengths)) > 1:
            msg = f"rows of {min(lengths)} to {max(lengths)} numbers do not make a matrix"
            raise ValueError(msg)
        return cls(data, rows=len(lengths))

    @classmethod
    def from_base64(cls, rows: Iterable[str]) -> EmbeddingMatrix:
        """Decode rows that are base64 of little-endian 32-bit floats into one block.

        Raises:
            ValueError: one is not, or the rows are not equally long.
        """
        data: array[float] = array("f")
        try:
            blocks = msgspec.convert([*rows], list[bytes])  # a third of what `base64` takes
            data.frombytes(b"".join(blocks))
        except (ValueError, msgspec.ValidationError) as error:
            msg = f"a row is not base64 of 32-bit floats: {error}"
            raise ValueError(msg) from error
        if len({len(block) for block in blocks}) > 1:
            msg = f"rows of {min(map(len, blocks))} to {max(map(len, blocks))} bytes"
            raise ValueError(msg)
        if sys.byteorder == "big":
            data.byteswap()
        return cls(data, rows=len(blocks))

    @classmethod
    def joined(cls, matrices: Sequence[EmbeddingMatrix]) -> EmbeddingMatrix:
        """Put matrices below one another.

        Raises:
            ValueError: their rows are not equally long.
        """
        if len({matrix.dimensions for matrix in matrices}) > 1:
            msg = f"rows of {', '.join(str(matrix.dimensions) for matrix in matrices)} numbers"
            raise ValueError(msg)
        data: array[float] = array("f")
        for matrix in matrices:
            data += matrix._data  # noqa: SLF001  of our own kind
        return cls(data, rows=sum(map(len, matrices)))

    @property
    def is_finite(self) -> bool:
        """Whether every number is one: neither infinite nor NaN."""
        # Of each, the byte with the sign and most of the exponent, whose bits are all set in what
        # is no finite number. Looking at each number would take longer than all else of an answer.
        high = self._data.tobytes()[3 if sys.byteorder == "little" else 0 :: 4]
        if b"\x7f" not in high and b"\xff" not in high:
            return True
        return all(map(math.isfinite, self._data))

    @property
    def is_normalized(self) -> bool:
        """Whether every row has length 1, as vectors have that are compared by their angle."""
        return all(abs(math.hypot(*row) - 1) < _TOLERANCE for row in self)

    @property
    def dimensions(self) -> int:
        """Length of each vector."""
        return self._dimensions

    @property
    def __array_interface__(self) -> dict[str, Any]:
        """Describe the block to numpy, which then reads it in place."""
        address, _ = self._data.buffer_info()
        return {
            "version": 3,
            "shape": (self._rows, self._dimensions),
            "typestr": "<f4" if sys.byteorder == "little" else ">f4",
            "data": (address, False),
        }

    def __len__(self) -> int:
        """Return the number of vectors."""
        return self._rows

    @overload
    def __getitem__(self, index: int) -> list[float]: ...
    @overload
    def __getitem__(self, index: slice) -> list[list[float]]: ...
    def __getitem__(self, index: int | slice) -> list[float] | list[list[float]]:
        """Return one vector, or a list of them for a slice."""
        if isinstance(index, slice):
            return [self._row(number) for number in range(*index.indices(self._rows))]
        number = index + self._rows if index < 0 else index
        if not 0 <= number < self._rows:
            msg = f"row {index} of a matrix of {self._rows}"
            raise IndexError(msg)
        return self._row(number)

    def __iter__(self) -> Iterator[list[float]]:
        """Go through the vectors in order."""
        return (self._row(number) for number in range(self._rows))

    def __eq__(self, other: object) -> bool:
        """Compare shape and numbers."""
        if not isinstance(other, EmbeddingMatrix):
            return NotImplemented
        return self._rows == other._rows and self._data == other._data

    def __hash__(self) -> int:
        """Hash by content; the matrix is never changed."""
        return hash((self._rows, self._data.tobytes()))

    def __repr__(self) -> str:
        """Tell the shape, not the numbers."""
        return f"<EmbeddingMatrix {self._rows} x {self._dimensions}>"

    def tolist(self) -> list[list[float]]:
        """Copy into plain lists."""
        return list(self)

    def _row(self, number: int) -> list[float]:
        start = number * self._dimensions
        return self._data[start : start + self._dimensions].tolist()
