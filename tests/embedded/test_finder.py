"""Models that are on the machine already, in made-up homes with the real programs' layouts."""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from pathlib import Path

import pytest

from patinox.embedded import LocalModelFile, demo_model, find_models, finder

WriteGGUF = Callable[..., Path]


@pytest.fixture(autouse=True)
def _no_stores_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finder, "_SYSTEM_OLLAMA_STORES", ())


def find(
    *paths: Path, home: Path = Path("/nowhere"), environ: Mapping[str, str] | None = None
) -> dict[str, LocalModelFile]:
    found = find_models(paths=paths, home=home, environ=environ or {})
    by_id = {model.id: model for model in found}
    assert len(by_id) == len(found)
    return by_id


def errors(models: Iterable[LocalModelFile]) -> list[str | None]:
    return [model.error for model in models]


class OllamaStore:
    """A store as `ollama pull` leaves it: manifests that name blobs by their digest."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def add(self, name: str, layers: Mapping[str, bytes]) -> list[Path]:
        blobs = [self.blob(content) for content in layers.values()]
        described = [
            {"mediaType": f"application/vnd.ollama.image.{kind}", "digest": digest_of(blob)}
            for kind, blob in zip(layers, blobs, strict=True)
        ]
        self.add_manifest(name, json.dumps({"schemaVersion": 2, "layers": described}))
        return blobs

    def add_manifest(self, name: str, text: str) -> None:
        path = self.root / "manifests" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def blob(self, content: bytes) -> Path:
        path = self.root / "blobs" / f"sha256-{sha256(content).hexdigest()}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path


def digest_of(blob: Path) -> str:
    return blob.name.replace("-", ":")


@pytest.fixture
def weights(write_gguf: WriteGGUF, tmp_path: Path) -> bytes:
    return write_gguf(tmp_path / "weights", {"general.name": "weights"}).read_bytes()


# Folders


def test_models_of_a_folder_are_named_by_their_place_in_it(
    write_gguf: WriteGGUF, tmp_path: Path
) -> None:
    write_gguf(tmp_path / "b.gguf")
    write_gguf(tmp_path / "some" / "one" / "Qwen2.5-7B.Q4_K_M.GGUF")
    (tmp_path / "notes.txt").write_text("no model")
    models = find(tmp_path)
    assert list(models) == ["b", "some/one/Qwen2.5-7B.Q4_K_M"]
    assert {model.source for model in models.values()} == {"path"}
    assert errors(models.values()) == [None, None]


def test_a_path_to_a_file_is_that_file_whatever_its_suffix(
    write_gguf: WriteGGUF, tmp_path: Path
) -> None:
    path = write_gguf(tmp_path / "model.bin")
    write_gguf(tmp_path / "neighbour.gguf")
    models = find(path)
    assert list(models) == ["model"]
    assert models["model"].path == path


def test_a_broken_file_is_listed_with_its_reason(write_gguf: WriteGGUF, tmp_path: Path) -> None:
    write_gguf(tmp_path / "good.gguf")
    (tmp_path / "broken.gguf").write_bytes(b"GGUF")
    (tmp_path / "empty.gguf").touch()
    models = find(tmp_path)
    assert models["good"].error is None
    assert models["empty"].error == "an empty file"
    assert models["broken"].error == "cut short: its header does not fit the file"
    assert models["broken"].info is None


def test_a_file_that_may_not_be_read_is_listed_with_its_reason(
    write_gguf: WriteGGUF, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_gguf(tmp_path / "secret.gguf")

    def refuse(self: Path, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)  # a mode is no hindrance to a test run by root
    assert find(path)["secret"].error == "cannot be read: Permission denied"


def test_a_missing_folder_holds_no_models(tmp_path: Path) -> None:
    assert find(tmp_path / "absent") == {}


def test_a_split_model_is_one_model(write_gguf: WriteGGUF, tmp_path: Path) -> None:
    first = write_gguf(tmp_path / "big-00001-of-00002.gguf", {"split.count": 2}, tensors=())
    second = write_gguf(tmp_path / "big-00002-of-00002.gguf", {"split.no": 1})
    models = find(tmp_path)
    assert list(models) == ["big"]
    assert models["big"].path == first
    assert models["big"].info is not None
    assert models["big"].info.parts == (second,)


def test_a_split_model_without_its_first_part_says_so(
    write_gguf: WriteGGUF, tmp_path: Path
) -> None:
    write_gguf(tmp_path / "big-00002-of-00003.gguf", {"split.no": 1})
    write_gguf(tmp_path / "big-00003-of-00003.gguf", {"split.no": 2})
    assert errors(find(tmp_path).values()) == ["part 2 of a split model: the first part is missing"]


def test_links_to_files_are_followed_but_not_linked_or_hidden_folders(
    write_gguf: WriteGGUF, tmp_path: Path
) -> None:
    blob = write_gguf(tmp_path / "blobs" / "f00")
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "linked.gguf").symlink_to(blob)
    (folder / "dangling.gguf").symlink_to(tmp_path / "absent")
    (folder / "circle.gguf").symlink_to(folder / "circle.gguf")
    (folder / "loop").symlink_to(tmp_path)
    write_gguf(folder / ".trash" / "hidden.gguf")
    assert list(find(folder)) == ["linked"]


def test_a_walk_ends_at_a_depth_and_at_a_number_of_entries(
    write_gguf: WriteGGUF, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_gguf(tmp_path / "1/2/3/4/5/6/deep.gguf")
    write_gguf(tmp_path / "1/2/3/4/5/6/7/deeper.gguf")
    assert list(find(tmp_path)) == ["1/2/3/4/5/6/deep"]
    monkeypatch.setattr(finder, "_MAX_ENTRIES", 3)
    assert find(tmp_path) == {}


def test_the_same_file_is_listed_once(write_gguf: WriteGGUF, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "folder" / "m.gguf")
    (tmp_path / "folder" / "n.gguf").symlink_to(path)
    assert list(find(path, tmp_path / "folder", tmp_path)) == ["m"]


def test_two_files_of_one_name_can_be_told_apart(write_gguf: WriteGGUF, tmp_path: Path) -> None:
    first = write_gguf(tmp_path / "one" / "m.gguf")
    second = write_gguf(tmp_path / "two" / "m.gguf")
    models = find(tmp_path / "one", tmp_path / "two")
    assert [(model.id, model.path) for model in models.values()] == [
        ("m", first),
        (second.as_posix(), second),
    ]


def test_a_header_is_read_again_only_when_the_file_has_changed(
    write_gguf: WriteGGUF, tmp_path: Path
) -> None:
    path = write_gguf(tmp_path / "m.gguf", {"general.name": "old"})
    before = find(path)["m"].info
    assert find(path)["m"].info is before
    write_gguf(path, {"general.name": "newer"})
    after = find(path)["m"].info
    assert after is not None
    assert after.name == "newer"


# Projectors


def test_a_projector_is_no_model_but_is_attached_to_its_neighbour(
    write_gguf: WriteGGUF, tmp_path: Path
) -> None:
    write_gguf(tmp_path / "gemma.gguf", {"llama.embedding_length": 2560})
    projector = write_gguf(
        tmp_path / "vision-half.gguf",
        {"general.architecture": "clip", "clip.vision.projection_dim": 768},
    )
    models = find(tmp_path)
    assert list(models) == ["gemma"]
    assert models["gemma"].projector == projector


def test_among_several_models_a_projector_is_attached_to_those_of_its_width(
    write_gguf: WriteGGUF, tmp_path: Path
) -> None:
    write_gguf(tmp_path / "a.gguf", {"llama.embedding_length": 1024})
    write_gguf(tmp_path / "b.gguf", {"llama.embedding_length": 2048})
    write_gguf(tmp_path / "elsewhere" / "c.gguf", {"llama.embedding_length": 2048})
    projector = write_gguf(
        tmp_path / "mmproj.gguf",
        {"general.architecture": "clip", "clip.vision.projection_dim": 2048},
    )
    models = find(tmp_path)
    assert {name: model.projector for name, model in models.items()} == {
        "a": None,
        "b": projector,
        "elsewhere/c": None,
    }


# LM Studio


@pytest.mark.parametrize("lmstudio", [".lmstudio", ".cache/lm-studio"])
def test_lm_studio_keeps_models_by_publisher_below_its_home(
    write_gguf: WriteGGUF, tmp_path: Path, lmstudio: str
) -> None:
    write_gguf(tmp_path / lmstudio / "models" / "qwen" / "Qwen3-GGUF" / "Qwen3-Q4_K_M.gguf")
    models = find(home=tmp_path)
    assert list(models) == ["qwen/Qwen3-GGUF/Qwen3-Q4_K_M"]
    assert models["qwen/Qwen3-GGUF/Qwen3-Q4_K_M"].source == "lmstudio"


def test_lm_studio_may_have_moved_its_home(write_gguf: WriteGGUF, tmp_path: Path) -> None:
    home, moved = tmp_path / "home", tmp_path / "disk" / "lmstudio"
    write_gguf(moved / "models" / "p" / "m" / "m.gguf")
    home.mkdir()
    (home / ".lmstudio-home-pointer").write_text(f"{moved}\n")
    assert list(find(home=home)) == ["p/m/m"]


def test_lm_studio_may_download_elsewhere(write_gguf: WriteGGUF, tmp_path: Path) -> None:
    home, downloads = tmp_path / "home", tmp_path / "disk"
    write_gguf(downloads / "p" / "m" / "m.gguf")
    write_gguf(home / ".lmstudio" / "models" / "p" / "old" / "old.gguf")
    (home / ".lmstudio" / "settings.json").write_text(
        json.dumps({"downloadsFolder": str(downloads), "developer": {}})
    )
    assert list(find(home=home)) == ["p/m/m", "p/old/old"]


@pytest.mark.parametrize("settings", [b"{", b"[]", b"\xff\xfe", b'{"downloadsFolder": 3}'])
def test_settings_of_lm_studio_that_make_no_sense_are_passed_over(
    write_gguf: WriteGGUF, tmp_path: Path, settings: bytes
) -> None:
    write_gguf(tmp_path / ".lmstudio" / "models" / "p" / "m" / "m.gguf")
    (tmp_path / ".lmstudio" / "settings.json").write_bytes(settings)
    assert list(find(home=tmp_path)) == ["p/m/m"]


# Ollama


@pytest.mark.parametrize(
    ("manifest", "model_id"),
    [
        ("registry.ollama.ai/library/qwen3/8b", "qwen3:8b"),
        ("registry.ollama.ai/someone/tuned/latest", "someone/tuned:latest"),
        ("hf.co/bartowski/Llama-3.2-1B-GGUF/Q4_K_M", "hf.co/bartowski/Llama-3.2-1B-GGUF:Q4_K_M"),
    ],
)
def test_ollama_names_its_models_by_manifest(
    tmp_path: Path, weights: bytes, manifest: str, model_id: str
) -> None:
    store = OllamaStore(tmp_path / ".ollama" / "models")
    (blob,) = store.add(manifest, {"model": weights})
    models = find(home=tmp_path)
    assert list(models) == [model_id]
    model = models[model_id]
    assert (model.path, model.source, model.error) == (blob, "ollama", None)
    assert model.info is not None
    assert model.info.name == "weights"


def test_parameters_system_prompt_and_projector_of_ollama_come_along(
    write_gguf: WriteGGUF, tmp_path: Path, weights: bytes
) -> None:
    projector = write_gguf(tmp_path / "p", {"general.architecture": "clip"}).read_bytes()
    layers = {
        "model": weights,
        "projector": projector,
        "params": b'{"stop": ["<end>"], "num_ctx": 8192}',
        "system": b"Answer as a pirate.",
        "template": b"{{ .Prompt }}",
    }
    blobs = OllamaStore(tmp_path / "s").add("registry.ollama.ai/library/pirate/latest", layers)
    model = find(tmp_path / "s")["pirate:latest"]
    assert model.projector == blobs[1]
    assert model.parameters == {"stop": ["<end>"], "num_ctx": 8192}
    assert model.system == "Answer as a pirate."
    assert "pirate." not in repr(model)


def test_two_names_of_ollama_for_one_file_are_two_models(tmp_path: Path, weights: bytes) -> None:
    store = OllamaStore(tmp_path)
    store.add("registry.ollama.ai/library/m/latest", {"model": weights})
    store.add("registry.ollama.ai/library/m/pirate", {"model": weights, "system": b"Arr!"})
    assert sorted(find(tmp_path)) == ["m:latest", "m:pirate"]


def test_a_store_of_ollama_may_be_configured_or_given_as_a_path(
    tmp_path: Path, weights: bytes
) -> None:
    store = OllamaStore(tmp_path / "disk")
    store.add("registry.ollama.ai/library/m/latest", {"model": weights})
    by_path = find(store.root)
    assert list(by_path) == ["m:latest"]
    assert by_path == find(environ={"OLLAMA_MODELS": str(store.root)})
    assert by_path == find(store.root, environ={"OLLAMA_MODELS": str(store.root)})


def test_an_ollama_model_that_lacks_its_file_says_so(tmp_path: Path, weights: bytes) -> None:
    store = OllamaStore(tmp_path)
    (blob,) = store.add("registry.ollama.ai/library/m/latest", {"model": weights})
    blob.unlink()
    assert errors(find(tmp_path).values()) == ["cannot be read: No such file or directory"]


def test_an_ollama_model_with_an_adapter_is_refused(tmp_path: Path, weights: bytes) -> None:
    layers = {"model": weights, "adapter": b"lora"}
    OllamaStore(tmp_path).add("registry.ollama.ai/library/m/latest", layers)
    (error,) = errors(find(tmp_path).values())
    assert error is not None
    assert "adapter" in error


@pytest.mark.parametrize(
    "text",
    [
        '{"layers": null}',
        '{"layers": []}',
        '{"layers": [{"mediaType": "application/vnd.ollama.image.model"}]}',
        '{"layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": "../x"}]}',
        "half a manif",
        "",
    ],
)
def test_manifests_that_name_no_model_file_are_passed_over(tmp_path: Path, text: str) -> None:
    OllamaStore(tmp_path).add_manifest("registry.ollama.ai/library/cloud/latest", text)
    assert find(tmp_path) == {}


def test_a_stray_file_among_the_manifests_is_passed_over(tmp_path: Path, weights: bytes) -> None:
    store = OllamaStore(tmp_path)
    store.add("registry.ollama.ai/library/m/latest", {"model": weights})
    store.add("stray", {"model": weights})
    assert list(find(tmp_path)) == ["m:latest"]


# The whole


def test_nothing_that_is_found_is_changed(
    write_gguf: WriteGGUF, tmp_path: Path, weights: bytes
) -> None:
    write_gguf(tmp_path / ".lmstudio" / "models" / "p" / "m" / "m.gguf")
    OllamaStore(tmp_path / ".ollama" / "models").add(
        "registry.ollama.ai/library/m/latest", {"model": weights}
    )

    def state() -> dict[str, tuple[int, int]]:
        paths = (Path(folder, name) for folder, _, names in os.walk(tmp_path) for name in names)
        return {str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in paths}

    before = state()
    assert len(find(tmp_path, home=tmp_path)) == 2
    assert state() == before


def test_the_demo_model_is_there_and_marked_as_such() -> None:
    demo = demo_model()
    assert (demo.id, demo.demo, demo.source, demo.error) == ("patinox-tiny", True, "bundled", None)
    assert demo.path.stat().st_size < 1_000_000
    assert not any(model.demo for model in find(demo.path.parent).values())


@pytest.mark.parametrize("name", ["a" * 5000, "a\0b"])
def test_a_folder_that_cannot_be_holds_no_models(name: str, tmp_path: Path) -> None:
    (tmp_path / ".lmstudio-home-pointer").write_text(name)
    assert find(Path(name), tmp_path / name, home=tmp_path, environ={"OLLAMA_MODELS": name}) == {}
    assert find(home=Path(name)) == {}


def test_a_manifest_that_is_nested_without_end_is_no_model(tmp_path: Path) -> None:
    store = OllamaStore(tmp_path)
    store.add_manifest("registry.ollama.ai/library/deep/latest", '{"x":' + "[" * 100_000)
    assert find(tmp_path) == {}
