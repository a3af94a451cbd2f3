"""What is shipped, what is locked, and what it costs to import."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import distribution, version
from pathlib import Path
from statistics import median
from typing import Any
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement

import patinox

ROOT = Path(__file__).parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCK = (ROOT / "requirements" / "dev.txt").read_text(encoding="utf-8")
ROUNDS = 5  # costs are medians of this many interleaved runs, in CPU time: other load counts little


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    run_python("-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder))
    (path,) = folder.glob("*.whl")
    with ZipFile(path) as archive:
        return archive


def test_the_wheel_holds_the_package_and_nothing_else(wheel: ZipFile) -> None:
    source = ROOT / "src"
    files = {path for path in source.rglob("patinox/**/*") if path.is_file()}
    expected = {file.relative_to(source).as_posix() for file in files if file.suffix != ".pyc"}
    shipped = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert shipped == expected
    assert "patinox/py.typed" in shipped
    assert any(re.fullmatch(r"patinox/embedded/data/.+\.gguf", name) for name in shipped)


def test_there_is_one_version(wheel: ZipFile) -> None:
    assert "version" not in PROJECT["project"]
    assert Path(str(wheel.filename)).name == f"patinox-{patinox.__version__}-py3-none-any.whl"
    assert version("patinox") == patinox.__version__, "installed before the last change: make setup"


def test_the_lock_pins_by_hash_and_names_no_place() -> None:
    pin = r"[\w-]+==[\w.]+( ; [^/@]+)? \\"
    for line in LOCK.splitlines():
        assert re.fullmatch(rf"#.*|{pin}|    --hash=sha256:[0-9a-f]{{64}}( \\)?", line)


def test_the_lock_holds_all_that_the_project_asks_for() -> None:
    asked = PROJECT["build-system"]["requires"] + PROJECT["project"]["dependencies"]
    for extra in PROJECT["project"]["optional-dependencies"].values():
        asked += extra
    for group in PROJECT["dependency-groups"].values():
        asked += [entry for entry in group if isinstance(entry, str)]
    names = {re.split(r"[^\w-]", requirement)[0] for requirement in asked} - {"patinox"}
    assert names <= set(re.findall(r"^([\w-]+)==", LOCK, flags=re.MULTILINE)), "scripts/lock"


def test_without_extras_13_packages_and_15_mib_are_installed(wheel: ZipFile) -> None:
    names = needed("patinox", set())
    files = [distribution(name).files or () for name in names - {"patinox"}]
    installed = [Path(str(file.locate())) for each in files for file in each]
    size = sum(path.stat().st_size for path in installed if path.exists() and path.suffix != ".pyc")
    size += sum(entry.file_size for entry in wheel.infolist())
    assert len(names) <= 13
    assert size <= 15 * 2**20


def needed(name: str, found: set[str]) -> set[str]:
    """Add a package and those it needs to those found."""
    found.add(name)
    for line in distribution(name).requires or ():
        requirement = Requirement(line)
        asked = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if asked and (other := requirement.name.lower().replace("_", "-")) not in found:
            needed(other, found)
    return found


WATCHED_IMPORT = """
import os, sys

def audit(event, args):
    if event == "open" and not str(args[0]).endswith((".py", ".pyc")):
        print("opens", args[0])
    if event.startswith(("socket.", "subprocess.", "os.system", "os.posix_spawn", "os.fork")):
        print("does", event, args)

def getitem(self, name, original=type(os.environ).__getitem__):
    if name.startswith(("OLLAMA_", "LMSTUDIO_", "LM_", "LOCAL_", "LLAMACPP_", "PATINOX_")):
        print("reads", name)
    return original(self, name)

type(os.environ).__getitem__ = getitem
sys.addaudithook(audit)
{statement}
if "aiohttp" in sys.modules:
    print("imports the HTTP client")
"""


def test_importing_patinox_does_nothing_but_import() -> None:
    assert run_python("-c", WATCHED_IMPORT.format(statement="import patinox")) == ""


@pytest.mark.parametrize(
    "statement",
    [
        "open(os.devnull)",
        "import socket; socket.socket()",
        "os.environ.get('OLLAMA_HOST')",
        "import aiohttp.web",
    ],
)
@pytest.mark.slow
def test_the_watch_on_imports_sees(statement: str) -> None:
    assert run_python("-c", WATCHED_IMPORT.format(statement=statement))


@pytest.mark.slow
def test_importing_patinox_costs_at_most_half_of_importing_the_ollama_client() -> None:
    code = "import time; start = time.process_time(); import {}; print(time.process_time() - start)"
    rounds = [
        [float(run_python("-c", code.format(module))) for module in ("patinox", "ollama")]
        for _ in range(ROUNDS)
    ]
    ours, theirs = (median(column) for column in zip(*rounds, strict=True))
    assert ours <= theirs / 2


@pytest.mark.slow
def test_the_version_is_printed_within_150_ms_of_a_bare_start() -> None:
    patinox_program = shutil.which("patinox", path=Path(sys.executable).parent)
    assert patinox_program
    commands = ([patinox_program, "--version"], [sys.executable, "-c", ""])
    rounds = [[cpu_seconds(command) for command in commands] for _ in range(ROUNDS)]
    ours, bare = (median(column) for column in zip(*rounds, strict=True))
    assert ours <= bare + 0.150


def cpu_seconds(command: list[str]) -> float:
    resource = pytest.importorskip("resource", reason="Windows does not tell a child's CPU time")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run(command)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return float(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def run_python(*arguments: str) -> str:
    return run([sys.executable, *arguments])


def run(command: list[str]) -> str:
    """What a program prints, run without coverage: that would be part of what is measured."""
    environment = {name: v for name, v in os.environ.items() if not name.startswith("COVERAGE_")}
    return subprocess.run(
        command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
