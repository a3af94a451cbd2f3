"""What a header says, and which headers are refused before an engine sees them."""

import os
import struct
import tracemalloc
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from patinox.embedded import BadGGUF, LocalModelFile, header, read_gguf

EPSILON = "llama.attention.layer_norm_rms_epsilon"


def test_the_demo_model_is_described_as_it_is(demo: LocalModelFile) -> None:
    info = read_gguf(demo.path)
    assert (info.architecture, info.name, info.quantization) == ("llama", "patinox-tiny", "Q8_0")
    assert (info.context_length, info.embedding_length, info.block_count) == (2048, 128, 4)
    assert (info.parameter_count, info.size_bytes) == (869_504, demo.path.stat().st_size)
    assert (info.supports_tools, info.supports_thinking) == (True, False)
    assert (info.is_projector, info.is_embedding, info.parts) == (False, False, ())
    assert info.chat_template is not None
    assert "<|im_start|>" in info.chat_template


def test_what_a_file_does_not_say_is_none(write_gguf: Callable[..., Path], tmp_path: Path) -> None:
    info = read_gguf(write_gguf(tmp_path / "bare.gguf"))
    assert {info.name, info.context_length, info.embedding_length, info.block_count} == {None}
    assert {info.quantization, info.pooling_type, info.chat_template} == {None}
    assert {info.supports_tools, info.supports_thinking} == {None}
    assert info.parameter_count == 64


def test_arrays_of_every_kind_are_passed_over(
    write_gguf: Callable[..., Path], tmp_path: Path
) -> None:
    metadata = {
        "tokenizer.ggml.tokens": ["", "wörd", "x" * 3_000_000, "end"],
        "tokenizer.ggml.token_type": [1] * 100_000,
        "general.name": "after the arrays",
        "tokenizer.ggml.add_bos_token": True,
    }
    info = read_gguf(write_gguf(tmp_path / "arrays.gguf", metadata))
    assert info.name == "after the arrays"


def test_a_value_of_another_type_counts_as_not_said(
    write_gguf: Callable[..., Path], tmp_path: Path
) -> None:
    metadata = {"llama.context_length": "long", "general.name": 7, "llama.block_count": True}
    info = read_gguf(write_gguf(tmp_path / "odd.gguf", metadata))
    assert {info.context_length, info.name, info.block_count} == {None}


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        pytest.param({"general.architecture": "bert"}, True, id="encoder"),
        pytest.param({"general.architecture": "nomic-bert-moe"}, True, id="encoder-family"),
        pytest.param({"llama.pooling_type": 3}, True, id="decoder-with-pooling"),
        pytest.param({"llama.pooling_type": 0}, False, id="pooling-none"),
        pytest.param({"llama.pooling_type": 4}, False, id="reranker"),
        pytest.param({}, False, id="chat-model"),
    ],
)
def test_embedding_models_are_known_by_architecture_or_pooling(
    write_gguf: Callable[..., Path], tmp_path: Path, metadata: Mapping[str, str], *, expected: bool
) -> None:
    assert read_gguf(write_gguf(tmp_path / "m.gguf", metadata)).is_embedding is expected


@pytest.mark.parametrize(
    ("template", "tools", "thinking"),
    [
        ("{% for m in messages %}{{ m.content }}{% endfor %}", False, False),
        ("{% if tools %}{{ tools | tojson }}{% endif %}", True, False),
        ("{% if enable_thinking %}<think>{% endif %}", False, True),
        ("stools and toolsmiths", False, False),
    ],
)
def test_abilities_are_read_from_the_template(
    write_gguf: Callable[..., Path], tmp_path: Path, template: str, *, tools: bool, thinking: bool
) -> None:
    info = read_gguf(write_gguf(tmp_path / "m.gguf", {"tokenizer.chat_template": template}))
    assert (info.supports_tools, info.supports_thinking) == (tools, thinking)


def test_a_projector_states_the_width_of_its_models(
    write_gguf: Callable[..., Path], tmp_path: Path
) -> None:
    metadata = {"general.architecture": "clip", "clip.vision.projection_dim": 2048}
    info = read_gguf(write_gguf(tmp_path / "mmproj.gguf", metadata))
    assert info.is_projector
    assert info.embedding_length == 2048


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "an empty file"),
        (b"GGU", "its header does not fit"),
        (b"<!DOCTYPE html><title>404</title>", "does not start with `GGUF`"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "version 1"),
        (b"GGUF" + struct.pack("<IQQ", 0x03000000, 0, 0), "version 50331648"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 63), "its header does not fit"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1 << 63, 0), "its header does not fit"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1 << 62), "its header does not fit"),
        (b"GGUF" + struct.pack("<IQQQ1sI", 3, 0, 1, 1, b"k", 13), "unknown type 13"),
        (b"GGUF" + struct.pack("<IQQQ1sIIQ", 3, 0, 1, 1, b"k", 9, 9, 1), "array of the unknown"),
        (b"GGUF" + struct.pack("<IQQQ1sIIQ", 3, 0, 1, 1, b"k", 9, 8, 9), "does not fit"),
        (b"GGUF" + struct.pack("<IQQQ1sIIQ", 3, 0, 1, 1, b"k", 9, 10, 1 << 61), "does not fit"),
    ],
)
def test_a_broken_header_is_refused_with_the_reason(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(content)
    with pytest.raises(BadGGUF, match=reason):
        read_gguf(path)


@pytest.mark.parametrize("kept", [0.0001, 0.001, 0.01, 0.03, 0.5, 0.999, 0.999999])
def test_a_file_cut_short_is_refused_wherever_it_was_cut(
    demo: LocalModelFile, change_demo: Callable[[Callable[[bytes], bytes]], Path], kept: float
) -> None:
    size = demo.path.stat().st_size
    path = change_demo(lambda content: content[: int(size * kept)])
    with pytest.raises(BadGGUF, match="cut short"):
        read_gguf(path)


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({"llama.block_count": 0}, "block_count` is 0"),
        ({"llama.block_count": 1_000_000}, "block_count` is 1000000"),
        ({"llama.context_length": 0}, "context_length` is 0"),
        ({"llama.context_length": 1 << 31}, "context_length` is 2147483648"),
        ({EPSILON: float("nan")}, "epsilon` is nan"),
        ({EPSILON: float("inf")}, "epsilon` is inf"),
        ({EPSILON: -1.0}, "epsilon` is -1"),
        ({"general.architecture": ""}, "no `general.architecture`"),
        ({"general.architecture": 5}, "no `general.architecture`"),
        ({"general.type": "adapter"}, "'adapter', not a model"),
        ({"general.alignment": 0}, "`general.alignment` is 0"),
        ({"general.alignment": 24}, "`general.alignment` is 24"),
    ],
)
def test_values_on_which_the_engine_would_abort_are_refused(
    write_gguf: Callable[..., Path], tmp_path: Path, metadata: Mapping[str, float], reason: str
) -> None:
    with pytest.raises(BadGGUF, match=reason):
        read_gguf(write_gguf(tmp_path / "m.gguf", metadata))


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ((), "no weights"),
        ((("w",), ("w",)), "'w' is there twice"),
        ((("w", (1, 1, 1, 1, 1)),), "5 dimensions"),
        ((("w", (32, 0)),), "impossible shape"),
        ((("w", (1 << 40, 1 << 40)),), "impossible shape"),
        ((("w", (33,), 8),), "rows of 33 in blocks of 32"),
        ((("w", (32,), 0, 8),), "multiple of 32 bytes"),
        ((("w", (128,), 0, 64),), "cut short"),
        ((("w", (32,), 99, 1024),), "cut short"),
        ((("blk.0.attn_norm.weight", (32,), 1),), "half precision"),
    ],
)
def test_impossible_tensors_are_refused(
    write_gguf: Callable[..., Path],
    tmp_path: Path,
    tensors: tuple[tuple[object, ...], ...],
    reason: str,
) -> None:
    with pytest.raises(BadGGUF, match=reason):
        read_gguf(write_gguf(tmp_path / "m.gguf", tensors=tensors))


def test_a_key_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    pair = struct.pack("<Q1sIB", 1, b"k", 0, 7)
    path = tmp_path / "twice.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + pair * 2)
    with pytest.raises(BadGGUF, match="key 'k' is there twice"):
        read_gguf(path)


def test_a_split_model_is_read_as_a_whole(write_gguf: Callable[..., Path], tmp_path: Path) -> None:
    first = write_gguf(tmp_path / "m-00001-of-00002.gguf", {"split.count": 2}, tensors=())
    second = write_gguf(tmp_path / "m-00002-of-00002.gguf", {"split.no": 1, "split.count": 2})
    info = read_gguf(first)
    assert info.parts == (second,)
    assert info.size_bytes == first.stat().st_size + second.stat().st_size
    assert info.parameter_count == 64
    with pytest.raises(BadGGUF, match="part 2 of a split model: the first part is missing"):
        read_gguf(second)


def test_a_split_model_without_all_of_its_parts_is_refused(
    write_gguf: Callable[..., Path], tmp_path: Path
) -> None:
    first = write_gguf(tmp_path / "m-00001-of-00002.gguf", {"split.count": 2})
    with pytest.raises(BadGGUF, match=r"its part m-00002-of-00002\.gguf is missing"):
        read_gguf(first)
    second = tmp_path / "m-00002-of-00002.gguf"
    second.write_bytes(b"GGUF")
    with pytest.raises(BadGGUF, match=r"its part m-00002-of-00002\.gguf: cut short"):
        read_gguf(first)
    with pytest.raises(BadGGUF, match="its name does not end in"):
        read_gguf(first.rename(tmp_path / "renamed.gguf"))


@pytest.mark.parametrize(
    ("parts", "why"),
    [(99_999, r"its part m-00002-of-99999\.gguf is missing"), (3_000_000, "99999 at most")],
)
def test_parts_that_are_claimed_are_not_counted_up(
    write_gguf: Callable[..., Path], tmp_path: Path, parts: int, why: str
) -> None:
    first = write_gguf(tmp_path / f"m-00001-of-{parts}.gguf", {"split.count": parts})
    tracemalloc.start()
    try:
        with pytest.raises(BadGGUF, match=why):
            read_gguf(first)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_a_header_without_end_is_not_read_without_end(
    demo: LocalModelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(header, "_MAX_HEADER_BYTES", 1000)
    with pytest.raises(BadGGUF, match="longer than 1000 bytes"):
        read_gguf(demo.path)


def test_a_file_that_shrinks_while_it_is_read_is_refused(
    write_gguf: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_gguf(tmp_path / "m.gguf", tensors=(("w" * 500,),))
    was = os.stat_result((0, 0, 0, 0, 0, 0, path.stat().st_size, 0, 0, 0))
    monkeypatch.setattr(os, "fstat", lambda _: was)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(BadGGUF, match="cut short while it was read"):
        read_gguf(path)


def test_what_cannot_be_read_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_gguf(tmp_path / "absent.gguf")
    with pytest.raises(IsADirectoryError):
        read_gguf(tmp_path)
