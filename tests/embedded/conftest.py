"""Files to test with: made here, byte by byte, so that each can be wrong in its own way."""

import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import pytest

from patinox.embedded import LocalModelFile, demo_model

MetadataValue: TypeAlias = str | bool | int | float | Sequence[str] | Sequence[int]

_ALIGNMENT: Final = 32


class TensorSpec(NamedTuple):
    name: str = "token_embd.weight"
    shape: Sequence[int] = (32, 2)
    type: int = 0
    offset: int = 0


def _string(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def _value(value: MetadataValue) -> bytes:
    if isinstance(value, str):
        return struct.pack("<I", 8) + _string(value)
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if value and isinstance(value[0], str):
        texts = b"".join(_string(str(item)) for item in value)
        return struct.pack("<IIQ", 9, 8, len(value)) + texts
    return struct.pack(f"<IIQ{len(value)}i", 9, 5, len(value), *value)


def _tensor(tensor: TensorSpec) -> bytes:
    sizes = len(tensor.shape)
    return _string(tensor.name) + struct.pack(
        f"<I{sizes}QIQ", sizes, *tensor.shape, tensor.type, tensor.offset
    )


@pytest.fixture(scope="session")
def write_gguf() -> Callable[..., Path]:
    """Write a file of format version 3: by default a tiny `llama` that passes every check."""

    def write(
        path: Path,
        metadata: Mapping[str, MetadataValue] | None = None,
        *,
        tensors: Sequence[tuple[Any, ...]] = ((),),
        data_bytes: int = 512,
    ) -> Path:
        pairs = {"general.architecture": "llama"} | dict(metadata or {})
        header = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(pairs))
        header += b"".join(_string(key) + _value(value) for key, value in pairs.items())
        header += b"".join(_tensor(TensorSpec(*tensor)) for tensor in tensors)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(header + bytes(-len(header) % _ALIGNMENT + data_bytes))
        return path

    return write


@pytest.fixture(scope="session")
def demo() -> LocalModelFile:
    return demo_model()


@pytest.fixture
def change_demo(demo: LocalModelFile, tmp_path: Path) -> Callable[[Callable[[bytes], bytes]], Path]:
    """A copy of the demo model's file with its bytes changed."""

    def change(how: Callable[[bytes], bytes]) -> Path:
        path = tmp_path / "changed.gguf"
        path.write_bytes(how(demo.path.read_bytes()))
        return path

    return change
