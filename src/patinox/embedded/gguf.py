"""What a GGUF file says about itself, read before any engine sees it.

The checks are a filter, not the protection (that is the child process of
`patinox.embedded.engine`): they turn a broken download into a sentence, and keep out the headers
on which llama.cpp is known to abort.
"""

import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from patinox.embedded.header import BadGGUF, Header, Metadata, Scalar, Tensor, read_header

__all__ = ["BadGGUF", "GGUFInfo", "read_gguf"]

Value = TypeVar("Value", bound=Scalar)

_MAX_BLOCKS: Final = 512  # LLAMA_MAX_LAYERS: llama.cpp aborts above it
_MAX_CONTEXT: Final = (1 << 31) - 1  # tokens; llama.cpp aborts above it
_MAX_PARTS: Final = 99_999  # their names have five digits
_HALF_PRECISION: Final = (1, 30)  # types of tensors: F16, BF16

# `general.file_type` counts into this list of names (`llama_ftype` in llama.h); `-`: never used.
_FILE_TYPES: Final = """
    F32 F16 Q4_0 Q4_1 - - - Q8_0 Q5_0 Q5_1 Q2_K Q3_K_S Q3_K_M Q3_K_L Q4_K_S Q4_K_M Q5_K_S Q5_K_M
    Q6_K IQ2_XXS IQ2_XS Q2_K_S IQ3_XS IQ3_XXS IQ1_S IQ4_NL IQ3_S IQ3_M IQ2_S IQ2_M IQ4_XS IQ1_M
    BF16 - - - TQ1_0 TQ2_0 MXFP4_MOE NVFP4
"""
_QUANTIZATIONS: Final[dict[int | None, str]] = {
    number: name for number, name in enumerate(_FILE_TYPES.split()) if name != "-"
}
_POOLING: Final[dict[int | None, str]] = dict(enumerate(("none", "mean", "cls", "last", "rank")))
_POOLING_OF_EMBEDDINGS: Final = ("mean", "cls", "last")
_ENCODERS: Final = re.compile(r"(nomic-|jina-|modern-|neo-|euro)?bert(-.+)?|gemma-embedding")
_PROJECTOR: Final = "clip"
_TYPES: Final = ("model", "mmproj")  # of `general.type`; others: adapter, imatrix, vocab

_TOOLS: Final = re.compile(r"\btools\b")
_THINKING: Final = re.compile(
    r"</?think>|\[/?THINK\]|enable_thinking|reasoning_content|<\|channel\|>"
)


class GGUFInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The facts in the header of a GGUF model. `None` is what the file does not say."""

    path: Path
    parts: tuple[Path, ...]
    """The other files of a model that is split, in order."""
    size_bytes: int
    """Size on disk, of all parts."""
    architecture: str
    name: str | None
    context_length: int | None
    """The context the model was trained for, in tokens."""
    embedding_length: int | None
    """The width of the model; of a projector, that of the models it fits."""
    block_count: int | None
    pooling_type: str | None
    """How the tokens of an embedding are joined: `none`, `mean`, `cls`, `last` or `rank`."""
    quantization: str | None
    """The name of `general.file_type`, such as `Q8_0`."""
    parameter_count: int
    chat_template: str | None

    @property
    def is_projector(self) -> bool:
        """Whether this is the vision or audio half of another model ("mmproj")."""
        return self.architecture == _PROJECTOR

    @property
    def is_embedding(self) -> bool:
        """Whether the model is made for embeddings, not for text."""
        if self.pooling_type is not None:
            return self.pooling_type in _POOLING_OF_EMBEDDINGS
        return _ENCODERS.fullmatch(self.architecture) is not None

    @property
    def supports_tools(self) -> bool | None:
        """Whether the chat template has a place for tools; `None` without a template."""
        return _mentions(_TOOLS, self.chat_template)

    @property
    def supports_thinking(self) -> bool | None:
        """Whether the chat template knows a reasoning section; `None` without a template."""
        return _mentions(_THINKING, self.chat_template)


def read_gguf(path: Path) -> GGUFInfo:
    """Read and check the header of the model at `path`, and of its other parts if it is split.

    Raises `BadGGUF` if no engine could load it, `OSError` if it cannot be read.
    """
    first = read_header(path)
    if number := _get(first.metadata, "split.no", int):
        raise BadGGUF(f"part {number + 1} of a split model: the first part is missing")
    others = _other_parts(path, _get(first.metadata, "split.count", int) or 1)
    read = [(part, _read_part(part)) for part in others]
    headers = [first, *(header for _, header in read)]
    tensors = [tensor for header in headers for tensor in header.tensors]
    if not tensors:
        raise BadGGUF("no weights in it")
    _refuse_what_aborts(first.metadata, tensors)
    return _info(path, tuple(part for part, _ in read), headers)


def _other_parts(path: Path, count: int) -> Iterator[Path]:
    """Name the parts one by one: the first that is missing ends the reading."""
    if count <= 1:
        return
    if count > _MAX_PARTS:
        raise BadGGUF(f"the first of {count} parts, but a model has {_MAX_PARTS} at most")
    ending = f"-00001-of-{count:05}.gguf"
    if not path.name.endswith(ending):
        raise BadGGUF(f"the first of {count} parts, but its name does not end in {ending!r}")
    stem = path.name.removesuffix(ending)
    for number in range(2, count + 1):
        yield path.with_name(f"{stem}-{number:05}-of-{count:05}.gguf")


def _read_part(path: Path) -> Header:
    try:
        return read_header(path)
    except FileNotFoundError:
        raise BadGGUF(f"its part {path.name} is missing") from None
    except BadGGUF as error:
        raise BadGGUF(f"its part {path.name}: {error}") from None


def _refuse_what_aborts(metadata: Metadata, tensors: Iterable[Tensor]) -> None:
    """Refuse values on which llama.cpp ends the process instead of returning an error."""
    architecture = _architecture(metadata)
    if (kind := metadata.get("general.type", "model")) not in _TYPES:
        raise BadGGUF(f"a file of type {kind!r}, not a model")
    for key, most in (("block_count", _MAX_BLOCKS), ("context_length", _MAX_CONTEXT)):
        number = _get(metadata, f"{architecture}.{key}", int)
        if number is not None and not 0 < number <= most:
            raise BadGGUF(f"`{architecture}.{key}` is {number}, not 1 to {most}")
    epsilon = _get(metadata, f"{architecture}.attention.layer_norm_rms_epsilon", float)
    if epsilon is not None and not 0 <= epsilon < math.inf:
        raise BadGGUF(f"`{architecture}.attention.layer_norm_rms_epsilon` is {epsilon}")
    for tensor in tensors:
        if tensor.type in _HALF_PRECISION and tensor.name.endswith("norm.weight"):
            raise BadGGUF(f"tensor {tensor.name!r} is in half precision; norms must be F32")


def _info(path: Path, parts: tuple[Path, ...], headers: list[Header]) -> GGUFInfo:
    metadata = headers[0].metadata
    architecture = _architecture(metadata)
    width = "vision.projection_dim" if architecture == _PROJECTOR else "embedding_length"
    return GGUFInfo(
        path=path,
        parts=parts,
        size_bytes=sum(header.size_bytes for header in headers),
        architecture=architecture,
        name=_get(metadata, "general.name", str),
        context_length=_get(metadata, f"{architecture}.context_length", int),
        embedding_length=_get(metadata, f"{architecture}.{width}", int),
        block_count=_get(metadata, f"{architecture}.block_count", int),
        pooling_type=_POOLING.get(_get(metadata, f"{architecture}.pooling_type", int)),
        quantization=_QUANTIZATIONS.get(_get(metadata, "general.file_type", int)),
        parameter_count=sum(tensor.elements for header in headers for tensor in header.tensors),
        chat_template=_get(metadata, "tokenizer.chat_template", str),
    )


def _architecture(metadata: Metadata) -> str:
    architecture = _get(metadata, "general.architecture", str)
    if not architecture:
        raise BadGGUF("no `general.architecture`")
    return architecture


def _get(metadata: Metadata, key: str, kind: type[Value]) -> Value | None:
    value = metadata.get(key)
    return value if type(value) is kind else None


def _mentions(pattern: re.Pattern[str], template: str | None) -> bool | None:
    return None if template is None else pattern.search(template) is not None
