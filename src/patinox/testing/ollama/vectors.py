"""Vectors of the emulated Ollama: texts that share words are close to each other."""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Sequence

_RAW_LENGTH = 22.0


def embed(text: str, dimensions: int) -> list[float]:
    """Return the unit vector of a text."""
    total = [0] * dimensions
    for word in text.lower().split() or [text]:
        noise = hashlib.shake_256(word.encode()).digest(2 * dimensions)
        total = [a + b for a, b in zip(total, _numbers(noise), strict=True)]
    return unit(total)


def unit(vector: Sequence[float]) -> list[float]:
    """Return the vector at length one, as near as 32 bits can say."""
    length = math.hypot(*vector) or 1.0
    return [_float32(value / length) for value in vector]


def raw(vector: Sequence[float]) -> list[float]:
    """Return the vector as an engine has it before it is brought to length one."""
    return [_float32(value * _RAW_LENGTH) for value in vector]


def _numbers(noise: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(noise) // 2}h", noise)


def _float32(value: float) -> float:
    number: float = struct.unpack("<f", struct.pack("<f", value))[0]
    return float(f"{number:.9g}")
