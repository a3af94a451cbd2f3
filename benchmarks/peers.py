"""An environment for each peer, made once, and what it weighs."""

import csv
import hashlib
import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
ENVIRONMENTS = HERE / ".envs"
PATINOX = "patinox"
# What makes environments is no part of what is installed in them.
TOOLS = {"pip", "setuptools", "wheel"}


def python(environment: str) -> Path:
    """The interpreter of an environment."""
    return ENVIRONMENTS / environment / "bin" / "python"


def prepare(environment: str) -> None:
    """Make the environment as its requirements say, unless it is that already."""
    requirements = HERE / "requirements" / f"{environment}.txt"
    wanted = hashlib.sha256(requirements.read_bytes()).hexdigest()
    mark = ENVIRONMENTS / environment / "made-from"
    if not mark.exists() or mark.read_text(encoding="ascii") != wanted:
        print(f"Installing {environment}", file=sys.stderr)
        target = ENVIRONMENTS / environment
        subprocess.run([sys.executable, "-m", "venv", "--clear", target], check=True)
        pip(environment, "--only-binary", ":all:", "--require-hashes", "-r", str(requirements))
        mark.write_text(wanted, encoding="ascii")
    if environment == PATINOX:
        install_patinox()


def pip(environment: str, *arguments: str) -> None:
    """Install into an environment."""
    command = [python(environment), "-m", "pip", "install", "--quiet", "--no-input"]
    subprocess.run([*command, "--disable-pip-version-check", *arguments], check=True)


def install_patinox() -> None:
    """Install this tree as users get it: a wheel."""
    wheels = HERE / ".build"
    for old in wheels.glob("*.whl"):
        old.unlink()
    build = ["-m", "hatchling", "build", "--target", "wheel", "--directory", str(wheels)]
    subprocess.run([sys.executable, *build], check=True, cwd=ROOT, capture_output=True)
    (wheel,) = wheels.glob("*.whl")
    pip(PATINOX, "--no-deps", "--force-reinstall", str(wheel))


def weight(environment: str) -> tuple[int, int]:
    """How many packages are installed and how many bytes they have, compiled files left out."""
    (site,) = (ENVIRONMENTS / environment).glob("lib/python*/site-packages")
    packages = [
        info
        for info in site.glob("*.dist-info")
        if info.name.partition("-")[0].lower() not in TOOLS
    ]
    return len(packages), sum(_size(site, info / "RECORD") for info in packages)


def _size(site: Path, record: Path) -> int:
    with record.open(encoding="utf-8", newline="") as lines:
        files = [site / row[0] for row in csv.reader(lines) if not row[0].endswith(".pyc")]
    return sum(file.stat().st_size for file in files if file.exists())


def versions(environment: str) -> dict[str, str]:
    """The version of every package of an environment."""
    code = (
        "import importlib.metadata as m, json;"
        "print(json.dumps({d.name.lower(): d.version for d in m.distributions()}))"
    )
    done = subprocess.run([python(environment), "-c", code], check=True, capture_output=True)
    return json.loads(done.stdout)
