"""Measures Patinox beside its peers; `make bench` runs it. Linux, two cores, a C compiler.

Every client is a process of its own in an environment of its own, all of them alive at once on one
core; the stub server is on another. Blocks of work go round in random order, many rounds, so that
whatever else the machine does falls on all alike. Ratios are taken within a round. All processes
are started anew several times: how one happens to lie in memory makes it faster or slower for life.
"""

import argparse
import contextlib
import datetime as dt
import json
import os
import platform
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import peers
import report
from plan import CANDIDATES, WORKS, Candidate, Work, does, model_name

# Seconds of each round, by client and measure.
Times = dict[str, dict[str, list[float]]]

HERE = Path(__file__).parent
BUILD = HERE / ".build"
SECONDS = 0.06  # of work that a block is to hold
IMPORTS = {
    "patinox": "from patinox import LocalProvider",  # `import patinox` alone loads what is named
    "ollama": "import ollama",
    "openai": "import openai",
    "httpx": "import httpx",
    "aiohttp": "import aiohttp",
    "litellm": "import litellm",
    "any-llm": "import any_llm",
    "langchain-ollama": "import langchain_ollama",
}
CLOCKS = (
    "import time; w, c = time.perf_counter(), time.process_time(); {};"
    "print(time.perf_counter() - w, time.process_time() - c)"
)


@contextlib.contextmanager
def pinned(core: int) -> Iterator[None]:
    """Start processes on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Stub:
    """The server, compiled and started."""

    def __init__(self, core: int) -> None:
        BUILD.mkdir(exist_ok=True)
        for name in ("stub", "load"):
            source = HERE / "stub" / f"{name}.c"
            subprocess.run(["cc", "-O2", "-o", BUILD / name, source], check=True)
        with pinned(core):
            self.process = subprocess.Popen(
                [BUILD / "stub"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        assert self.process.stdout
        self.ports = [int(port) for port in self.process.stdout.readline().split()]

    def rates(self, core: int, seconds: float) -> dict[str, float]:
        """Answers per second that it gives to a client of C on another core."""
        asked = {
            "/api/version": ("GET", "/api/version", "", 16),
            "chat of 20 pieces, streamed": ("POST", "/api/chat", '{"model":"fast-20"}', 1),
            "chat of 200 pieces, streamed": ("POST", "/api/chat", '{"model":"fast-200"}', 1),
            "chat in one document": ("POST", "/api/chat", '{"model":"fast-20","stream":false}', 1),
            "chat of 20 pieces, 64 at once": ("POST", "/api/chat", '{"model":"fast-20"}', 64),
            "vectors as text": ("POST", "/api/embed", "{}", 1),
        }
        found = {}
        for what, (method, path, body, connections) in asked.items():
            arguments = [str(self.ports[0]), str(connections), str(seconds), method, path, body]
            with pinned(core):
                done = subprocess.run(
                    [BUILD / "load", *arguments], check=True, capture_output=True, text=True
                )
            found[what] = float(done.stdout.split()[0])
            print(f"stub alone: {found[what]:10,.0f} a second  {what}", file=sys.stderr)
        return found


class Worker:
    """A client's process."""

    def __init__(self, candidate: Candidate, ports: list[int], core: int) -> None:
        self.candidate = candidate
        first = model_name(WORKS[0], candidate.style)
        shown = ports[:3] if candidate.ours else [ports[0 if candidate.style == "ollama" else 1]]
        command = [peers.python(candidate.environment), HERE / "worker.py", candidate.module]
        with pinned(core), (BUILD / "workers.log").open("a") as log:
            self.process = subprocess.Popen(
                [*command, candidate.style, first, *map(str, shown)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.first = self.hear()

    def hear(self) -> dict[str, Any]:
        """Wait for an answer."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.candidate.key} ended; see {BUILD / 'workers.log'}")
        return json.loads(line)

    def do(self, work: Work, calls: int) -> dict[str, Any]:
        """Have a block of work done."""
        order = {
            "work": work.work,
            "model": model_name(work, self.candidate.style),
            "pieces": work.pieces,
            "paced": work.paced,
            "at_once": work.at_once,
            "calls": calls,
        }
        assert self.process.stdin
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return self.hear()

    def end(self) -> None:
        """End the process."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def rounds(workers: list[Worker], work: Work, count: int, found: Times) -> None:
    """Go round, and add to `found` the seconds of each call, or piece."""
    doing = [worker for worker in workers if does(worker.candidate, work)]
    calls = {worker.candidate.key: _calls(worker, work) for worker in doing}
    for key in calls:
        found.setdefault(key, {"wall": [], "cpu": [], "delay": []})
    for _ in range(count):
        random.shuffle(doing)
        for worker in doing:
            key = worker.candidate.key
            taken = worker.do(work, calls[key])
            for measure in ("wall", "cpu"):
                found[key][measure].append(taken[measure] / calls[key] / work.units)
            if taken["delays"]:
                found[key]["delay"].append(median(taken["delays"]) / 1e9)


def _calls(worker: Worker, work: Work) -> int:
    """How many calls fill a block."""
    if work.paced:
        return 1
    worker.do(work, 1)
    quickest = min(worker.do(work, 1)["wall"] for _ in range(3))
    return max(1, min(100, round(SECONDS / quickest)))


def imports(core: int, count: int) -> Times:
    """Seconds that the import takes in fresh interpreters, in turn."""
    found: Times = {name: {"wall": [], "cpu": []} for name in IMPORTS}
    for number in range(count + 1):
        for name, statement in IMPORTS.items():
            with pinned(core):
                done = subprocess.run(
                    [peers.python(name), "-c", CLOCKS.format(statement)],
                    check=True,
                    capture_output=True,
                    text=True,
                    env={**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
                )
            if number:  # the first compiles
                wall, cpu = map(float, done.stdout.split())
                found[name]["wall"].append(wall)
                found[name]["cpu"].append(cpu)
    return found


def watching(ports: list[int], core: int, seconds: float) -> subprocess.Popen[str]:
    """Start a provider that watches four services and does nothing else."""
    with pinned(core):
        return subprocess.Popen(
            [peers.python("patinox"), HERE / "watch.py", str(seconds), *map(str, ports)],
            stdout=subprocess.PIPE,
            text=True,
        )


def profiled(ports: list[int], core: int, calls: int) -> dict[str, float]:
    """Share of each part of Patinox in the time of a whole chat, under a profiler."""
    with pinned(core):
        done = subprocess.run(
            [peers.python("patinox"), HERE / "rooms.py", str(calls), *map(str, ports)],
            check=True,
            capture_output=True,
            text=True,
        )
    return json.loads(done.stdout)


def measure(*, quick: bool) -> dict[str, Any]:
    """Do it all; the outcome is what the report is made from."""
    client, *_, server = sorted(os.sched_getaffinity(0))
    for environment in sorted({candidate.environment for candidate in CANDIDATES}):
        peers.prepare(environment)
    stub = Stub(server)
    found: dict[str, Any] = {
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
        "quick": quick,
        "machine": machine(),
        "versions": {name: peers.versions(name) for name in IMPORTS},
        "stub": stub.rates(client, 0.3 if quick else 1.0),
        "works": {work.key: {} for work in WORKS},
        "memory": {},
        "discovery": [],
    }
    watch = watching(stub.ports, server, 12 if quick else 60)
    found["import"] = imports(client, 3 if quick else 9)
    found["weight"] = {name: peers.weight(name) for name in IMPORTS}
    found["watch"] = json.loads(watch.communicate()[0])
    found["parts"] = profiled(stub.ports[:3], client, 300 if quick else 3000)
    for number in range(1 if quick else 3):
        print(f"processes, set {number + 1}", file=sys.stderr)
        with_processes(stub.ports, client, found, fast=3 if quick else 5)
    return found


def with_processes(ports: list[int], core: int, found: dict[str, Any], *, fast: int) -> None:
    """Start every client, go round `fast` times, once where pieces are paced, and end them."""
    workers = [Worker(candidate, ports, core) for candidate in CANDIDATES]
    for worker in workers:
        key = worker.candidate.key
        found["memory"].setdefault(key, []).append(worker.first["memory"])
        if worker.candidate.module == "patinox_async":
            found["discovery"].append(worker.first["start"])
    for work in WORKS:
        started = time.monotonic()
        rounds(workers, work, 1 if work.paced else fast, found["works"][work.key])
        print(f"{time.monotonic() - started:4.0f} s  {work.title}", file=sys.stderr)
    for worker in workers:
        worker.end()


def machine() -> dict[str, str]:
    """What kind of machine this is, and nothing by which it could be found."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    names = {line.partition(": ")[2] for line in info.splitlines() if line.startswith("model name")}
    virtual = "a virtual machine" if "hypervisor" in info else "a machine"
    return {
        "kind": f"{virtual} with {len(os.sched_getaffinity(0))} cores ({', '.join(sorted(names))})",
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def main() -> None:
    """Measure, or only write the report anew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds; docs/ stays as it is")
    parser.add_argument("--report", action="store_true", help="from the last run's results")
    options = parser.parse_args()
    kept = BUILD / ("quick.json" if options.quick else "results.json")
    if not options.report:
        if len(os.sched_getaffinity(0)) < 2:
            sys.exit("Client and server need a core each; this process may use only one.")
        found = measure(quick=options.quick)
        kept.write_text(json.dumps(found), encoding="utf-8")
    found = json.loads(kept.read_text(encoding="utf-8"))
    print(report.text(found))
    if not options.quick:
        report.write(found)


if __name__ == "__main__":
    main()
