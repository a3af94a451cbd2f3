"""GGUF models that are on this machine already: in folders of the user, LM Studio and Ollama.

Nothing is written, locked or followed into the network, and a walk is bounded in depth and in
entries. A file that no engine could load is listed too, with the reason, so that a doctor can
show it.

- LM Studio keeps models under `<home>/models/<publisher>/<model>/*.gguf`:
  https://lmstudio.ai/docs/app/basics/import-model
- Ollama keeps a manifest per name and tag, and the files it names as blobs:
  https://github.com/ollama/ollama/blob/main/docs/faq.md
"""

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Final, Literal, TypeAlias, TypeVar

import msgspec

from patinox.embedded.gguf import BadGGUF, GGUFInfo, read_gguf

__all__ = ["LocalModelFile", "ModelSource", "demo_model", "find_models"]

Decoded = TypeVar("Decoded")
ModelSource: TypeAlias = Literal["path", "lmstudio", "ollama", "bundled"]

_DEMO: Final = "patinox-tiny"
_DEMO_FILE: Final = "patinox-tiny-q8_0.gguf"

_MAX_DEPTH: Final = 6
_MAX_ENTRIES: Final = 20_000
_MAX_TEXT_BYTES: Final = 1 << 20
_SPLIT: Final = re.compile(r"-\d{5}-of-\d{5}$")

# Where the installers of Ollama put the models of its service user.
_SYSTEM_OLLAMA_STORES: Final = (
    Path("/usr/share/ollama/.ollama/models"),
    Path("/var/lib/ollama/.ollama/models"),
    Path("/var/lib/ollama/models"),
)
_OLLAMA_REGISTRIES: Final = ("registry.ollama.ai", "ollama.com")
_MANIFEST_DEPTH: Final = 4  # registry, namespace, name, tag
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_LAYER: Final = "application/vnd.ollama.image."


class LocalModelFile(msgspec.Struct, frozen=True, kw_only=True):
    """A model that is a file, or several, on this machine."""

    id: str
    """Its name for people: a path below the folder it was found in, or Ollama's `name:tag`."""
    path: Path
    source: ModelSource
    info: GGUFInfo | None = None
    """What the file says; `None` if `error` says why not."""
    projector: Path | None = None
    """The file of its vision or audio half."""
    parameters: Mapping[str, object] = {}
    """Ollama's own parameters for it (`stop`, `temperature`, `num_ctx` ...)."""
    system: str | None = None
    """The system prompt that is a part of an Ollama model."""
    demo: bool = False
    """Whether it is the toy that comes with Patinox."""
    error: str | None = None
    """Why no engine can load it."""

    def __repr__(self) -> str:
        return f"<LocalModelFile {self.id!r} from {self.source}: {self.error or self.path}>"


def demo_model() -> LocalModelFile:
    """The toy that comes with Patinox (0.9 million parameters): a trial without any model."""
    path = Path(str(files("patinox.embedded") / "data" / _DEMO_FILE))
    return msgspec.structs.replace(_inspect(_DEMO, path, "bundled"), demo=True)


def find_models(
    *, paths: Sequence[Path], home: Path | None, environ: Mapping[str, str]
) -> tuple[LocalModelFile, ...]:
    """Every model under `paths`, in LM Studio's folders and in Ollama's stores.

    `paths` are files and folders of the user, each of which may be an Ollama store; `home` is
    the user's home, and without one only `paths` count; of `environ` only `OLLAMA_MODELS` is
    read. Blocks while it reads the headers of files it has not seen before: call it in a thread.
    """
    found: list[LocalModelFile] = []
    for path in paths:
        found += _ollama_models(path)
        found += _folder_models(path, "path")
    if home is not None:
        for folder in _lmstudio_folders(home):
            found += _folder_models(folder, "lmstudio")
        for store in _ollama_stores(home, environ):
            found += _ollama_models(store)
    return tuple(_without_duplicates(found))


def _without_duplicates(models: Iterable[LocalModelFile]) -> Iterator[LocalModelFile]:
    """Each file once, and each name of Ollama once, under ids that are all different.

    Two names of Ollama may share a file: they differ in parameters or system prompt.
    """
    seen: set[tuple[str, str]] = set()
    ids: set[str] = set()
    for model in models:
        key = (os.path.realpath(model.path), model.id if model.source == "ollama" else "")
        if key in seen:
            continue
        seen.add(key)
        unique = model.id if model.id not in ids else model.path.as_posix()
        ids.add(unique)
        yield msgspec.structs.replace(model, id=unique)


# Folders


def _folder_models(root: Path, source: ModelSource) -> list[LocalModelFile]:
    by_folder: defaultdict[Path, list[LocalModelFile]] = defaultdict(list)
    seen: set[str] = set()
    for path in _walk(root):
        if path.suffix.lower() != ".gguf" and path != root:
            continue
        name = path.stem if path == root else path.relative_to(root).with_suffix("").as_posix()
        model_id = _SPLIT.sub("", name)
        if model_id != name and model_id in seen:
            continue  # a further part: the first stands for all
        seen.add(model_id)
        by_folder[path.parent].append(_inspect(model_id, path, source))
    models = [model for inside in by_folder.values() for model in _with_projectors(inside)]
    return sorted(models, key=lambda model: model.id)


def _with_projectors(folder: Iterable[LocalModelFile]) -> list[LocalModelFile]:
    """The models of a folder, each with the projector beside it that fits."""
    models: list[LocalModelFile] = []
    projectors: list[GGUFInfo] = []
    for file in folder:
        if file.info is not None and file.info.is_projector:
            projectors.append(file.info)
        else:
            models.append(file)
    alone = len(models) == 1
    return [
        msgspec.structs.replace(model, projector=_projector_of(model, projectors, alone=alone))
        for model in models
    ]


def _projector_of(
    model: LocalModelFile, projectors: Iterable[GGUFInfo], *, alone: bool
) -> Path | None:
    # Old projectors state another width, so that of a model's only neighbour is not asked.
    width = model.info and model.info.embedding_length
    return next((p.path for p in projectors if alone or p.embedding_length == width), None)


def _walk(root: Path) -> Iterator[Path]:
    """The files under `root`, or `root` itself if it is one. Hidden and linked folders are not."""
    if _is_file(root):
        yield root
    folders = [(root, 0)]
    entries_left = _MAX_ENTRIES
    while folders:
        folder, depth = folders.pop()
        for entry in _entries(folder)[:entries_left]:
            entries_left -= 1
            if _is_file(entry):
                yield Path(entry.path)
            elif depth < _MAX_DEPTH and _is_plain_folder(entry):
                folders.append((Path(entry.path), depth + 1))


def _is_file(path: Path | os.DirEntry[str]) -> bool:
    # The methods of `Path` and `DirEntry` raise where a folder on the way is not ours to read.
    return os.path.isfile(path)  # noqa: PTH113


def _is_plain_folder(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (OSError, ValueError):
        return []  # absent, a file, not ours to read, or no path that could be


# Files


def _inspect(model_id: str, path: Path, source: ModelSource) -> LocalModelFile:
    error: str | None = None
    info: GGUFInfo | None = None
    try:
        stat = path.stat()
        info = _read(path, stat.st_size, stat.st_mtime_ns)
    except BadGGUF as bad:
        error = str(bad)
    except OSError as failure:
        error = f"cannot be read: {failure.strerror or failure}"
    return LocalModelFile(id=model_id, path=path, source=source, info=info, error=error)


@lru_cache(maxsize=512)
def _read(path: Path, size: int, mtime_ns: int) -> GGUFInfo:  # noqa: ARG001 - part of the key
    """Read a header once for as long as the file stays as it is."""
    return read_gguf(path)


def _read_text(path: Path) -> str:
    """The text of a small file; empty if it is absent, not ours to read, or not text."""
    try:
        with path.open("rb") as file:
            return file.read(_MAX_TEXT_BYTES).decode()
    except (OSError, ValueError):
        return ""


def _decode(text: str, kind: type[Decoded]) -> Decoded | None:
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, RecursionError):
        return None  # not written yet, or by a version that writes something else


# LM Studio


class _LMStudioSettings(msgspec.Struct, rename="camel"):
    downloads_folder: str | None = None


def _lmstudio_folders(home: Path) -> Iterator[Path]:
    homes = [home / ".lmstudio", home / ".cache" / "lm-studio"]
    if moved := _read_text(home / ".lmstudio-home-pointer").strip():
        homes.insert(0, Path(moved))
    for lmstudio in homes:
        settings = _decode(_read_text(lmstudio / "settings.json"), _LMStudioSettings)
        if settings and settings.downloads_folder:
            yield Path(settings.downloads_folder)
        yield lmstudio / "models"


# Ollama


class _Layer(msgspec.Struct, rename="camel"):
    media_type: str
    digest: str


class _Manifest(msgspec.Struct):
    layers: list[_Layer] = []


def _ollama_stores(home: Path, environ: Mapping[str, str]) -> Iterator[Path]:
    if configured := environ.get("OLLAMA_MODELS"):
        yield Path(configured)
    yield home / ".ollama" / "models"
    yield from _SYSTEM_OLLAMA_STORES


def _ollama_models(store: Path) -> Iterator[LocalModelFile]:
    manifests = store / "manifests"
    for path in _walk(manifests):
        manifest = _decode(_read_text(path), _Manifest)
        parts = path.relative_to(manifests).parts
        if manifest is None or len(parts) != _MANIFEST_DEPTH:
            continue
        blobs = {
            layer.media_type.removeprefix(_LAYER): store / "blobs" / layer.digest.replace(":", "-")
            for layer in reversed(manifest.layers)  # of several layers of a kind the first counts
            if _DIGEST.fullmatch(layer.digest)
        }
        if "model" in blobs:  # else it runs in the cloud, or is no GGUF
            yield _ollama_model(_ollama_id(*parts), blobs)


def _ollama_id(registry: str, namespace: str, name: str, tag: str) -> str:
    """`library/qwen3/8b` of Ollama's own registry is `qwen3:8b`; other registries are named."""
    if registry not in _OLLAMA_REGISTRIES:
        return f"{registry}/{namespace}/{name}:{tag}"
    return f"{name}:{tag}" if namespace == "library" else f"{namespace}/{name}:{tag}"


def _ollama_model(model_id: str, blobs: Mapping[str, Path]) -> LocalModelFile:
    model = _inspect(model_id, blobs["model"], "ollama")
    if "adapter" in blobs:
        refusal = "it needs an adapter, which the engine inside does not load"
        model = msgspec.structs.replace(model, info=None, error=refusal)
    texts = {kind: _read_text(blobs[kind]) for kind in ("params", "system") if kind in blobs}
    return msgspec.structs.replace(
        model,
        projector=blobs.get("projector"),
        parameters=_decode(texts.get("params", ""), dict[str, object]) or {},
        system=texts.get("system"),
    )
