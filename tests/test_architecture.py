"""Which file may import what: the floors of the house, from the ground up."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).parent.parent / "src" / "patinox"
# `local/` is short for `provider/local/`; a room that ends with a slash is a folder.
FILES = {
    path.relative_to(SRC).with_suffix("").as_posix().replace("provider/local/", "local/"): path
    for path in sorted(SRC.glob("**/*.py"))
}
# Imports go down, or sideways: never up, so that each floor is proven without those above it.
# Nor across a bar: what two such rooms share belongs on a floor below them.
FLOORS = """
    _version provider/errors provider/checks provider/secret provider/embeddings
    provider/images provider/schema provider/tools
    provider/models provider/messages provider/service_options provider/requests
    provider/answers provider/stream provider/types
    provider/base provider/assemble local/types local/naming local/errors local/facts local/wire/ \
        local/events
    provider/lifecycle provider/toolloop
    provider/config local/config local/endpoint local/dialects/
    local/configfile local/variables local/environment
    local/waiting local/explaining local/transport local/connections local/flight local/limits \
        | embedded/
    local/health local/routing local/retrying local/holding local/catalog local/observers \
        local/tally
    local/lifecycle local/spec local/nearest local/link local/finding local/features \
        local/preflight local/prepare local/vectors local/service local/answer local/accounts \
        local/telling
    local/ollama_lifecycle local/ollama | local/lmstudio_lifecycle local/lmstudio | \
        local/llamacpp_lifecycle local/llamacpp | local/embedded
    local/registry local/probing
    local/watch local/discovery
    local/lookup local/lifecycle_face local/continuing local/failover local/coordinator \
        provider/factory
    local/loopthread local/sync | telemetry/ | testing/
    local/__init__ provider/__init__ __init__
    cli/ __main__
"""
ROOMS = {  # room: its floor, its part of the floor
    room: (floor, part)
    for floor, line in enumerate(FLOORS.strip().splitlines())
    for part, rooms in enumerate(line.split("|"))
    for room in rooms.split()
}
ALONE = {  # rooms that import no other room
    "embedded/": "it runs in a child process, where nothing else is loaded",
    "testing/": "an emulator that shares a parser with the client shares its mistakes",
}
ONLY = {  # what is imported, or read, in these rooms only
    "PIL": ("provider/images", "it belongs to the extra `vision`"),
    "aiohttp": (
        "local/transport local/explaining local/connections",
        "the HTTP client can be replaced in one place",
    ),
    "docstring_parser": ("provider/tools", "it is imported by those who have tools"),
    "jsonschema": ("provider/schema", "it belongs to the extra `schema`"),
    "os.environ": ("local/environment embedded/", "settings come from an injected mapping"),
    "os.getenv": ("local/environment", "settings come from an injected mapping"),
    "patinox.embedded": ("local/embedded embedded/", "the engine is reached through its service"),
    "opentelemetry": ("telemetry/", "it belongs to the extra `otel`"),
    "prometheus_client": ("telemetry/", "it belongs to the extra `prometheus`"),
    "rich": ("cli/", "it belongs to the extra `cli`"),
    "typer": ("cli/", "it belongs to the extra `cli`"),
    "xllamacpp": ("embedded/", "it belongs to the extra `embedded`"),
}
# Values in, values out: to be tested without a socket, a clock or a loop.
DRY = {
    *("provider/errors", "provider/checks", "provider/secret", "provider/embeddings"),
    *("provider/schema", "provider/tools", "provider/models", "provider/messages"),
    *("provider/service_options", "provider/requests", "provider/answers", "provider/stream"),
    *("provider/types", "provider/base", "provider/assemble", "provider/lifecycle"),
    *("provider/config", "local/config", "local/endpoint", "local/types", "local/errors"),
    *("local/facts", "local/wire/", "local/dialects/", "local/events", "local/health"),
    *(
        "local/naming",
        "local/routing",
        "local/retrying",
        "local/holding",
        "local/tally",
        "local/accounts",
    ),
    *("local/spec", "local/nearest", "local/features", "local/preflight", "local/answer"),
}
# No line and no branch of these goes untested: the dry ones, and some that wait, but open nothing.
WHOLE = {*DRY, "provider/images", "provider/toolloop", "local/limits", "telemetry/"}
WET = {"aiohttp", "asyncio", "logging", "os", "socket", "threading", "time"}


@pytest.mark.parametrize("file", FILES)
def test_a_file_keeps_to_its_floor(file: str) -> None:
    assert list(breaches(file, FILES[file].read_text(encoding="utf-8"))) == []


def test_the_rules_name_rooms_that_have_a_floor() -> None:
    assert {*WHOLE, *ALONE, *" ".join(rooms for rooms, _ in ONLY.values()).split()} <= {*ROOMS}


@pytest.mark.parametrize(
    ("file", "source", "breach"),
    [
        ("stray", "", "stray: say in FLOORS where it lives"),
        ("provider/types", "def f():\n    import time", "time: `provider/types` is dry"),
        ("provider/types", "import patinox.provider.config", "provider/config: not below"),
        (
            "local/ollama",
            "from patinox.provider.local import lmstudio",
            "local/lmstudio: not below",
        ),
        ("local/ollama", "from aiohttp import web", "aiohttp.web: the HTTP client can be"),
        ("local/ollama", "import os\nos.environ", "os.environ: settings come from"),
        ("local/ollama", "from os import environ", "os.environ: settings come from"),
        ("testing/server", "from patinox.provider import types", "an emulator that shares"),
    ],
)
def test_a_breach_is_seen(file: str, source: str, breach: str) -> None:
    assert any(breach in found for found in breaches(file, source))


def test_an_import_for_types_alone_is_free() -> None:
    source = "if TYPE_CHECKING:\n    import patinox.provider.local.discovery"
    assert not list(breaches("provider/types", source))


def test_what_must_be_covered_wholly_is_told_to_make() -> None:
    printed = subprocess.run([sys.executable, __file__], capture_output=True, text=True, check=True)
    files = printed.stdout.strip().split(",")
    assert len(files) == len(set(files))
    assert {f"{SRC}/provider/types.py", f"{SRC}/provider/local/wire/sse.py"} <= {*files}
    assert f"{SRC}/provider/local/transport.py" not in files


def breaches(file: str, source: str) -> Iterator[str]:
    room = room_of(file)
    if room is None:
        yield f"{file}: say in FLOORS where it lives"
        return
    for name in set(names_used(ast.parse(source))):
        if room in DRY and name.split(".")[0] in WET:
            yield f"{name}: `{room}` is dry"
        for limited, (rooms, reason) in ONLY.items():
            if f"{name}.".startswith(f"{limited}.") and room not in rooms.split():
                yield f"{name}: {reason}"
        if name.startswith("patinox") and (other := room_of_name(name)) != room:
            if room in ALONE:
                yield f"{name}: {ALONE[room]}"
            (floor, part), (own_floor, own_part) = ROOMS[other], ROOMS[room]
            if floor > own_floor or (floor == own_floor and part != own_part):
                yield f"{other}: not below `{room}`"


def names_used(tree: ast.AST) -> Iterator[str]:
    """What is imported at run time, anywhere in the file, and what is taken from `os`."""
    match tree:
        case ast.If(test=ast.Name("TYPE_CHECKING"), orelse=rest):
            yield from (name for node in rest for name in names_used(node))
            return
        case ast.Import(names):
            yield from (alias.name for alias in names)
        case ast.ImportFrom(module=str(module), names=names):
            yield from (f"{module}.{alias.name}" for alias in names)
        case ast.Attribute(value=ast.Name("os"), attr=attribute):
            yield f"os.{attribute}"
        case _:
            pass
    for node in ast.iter_child_nodes(tree):
        yield from names_used(node)


def room_of(file: str) -> str | None:
    return next((r for r in ROOMS if file == r or (r.endswith("/") and file.startswith(r))), None)


def room_of_name(name: str) -> str:
    path = name.replace(".", "/").replace("patinox/provider/local", "local").removeprefix("patinox")
    path = path.removeprefix("/")
    while not (room := room_of(path) or room_of(f"{path}/__init__".removeprefix("/"))):
        path = path.rpartition("/")[0]
    return room


if __name__ == "__main__":  # `make coverage` asks
    sys.stdout.write(",".join(str(path) for file, path in FILES.items() if room_of(file) in WHOLE))
