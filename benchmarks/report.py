"""The results as tables: printed, and written with a picture into `docs/performance.md`."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple

from plan import CANDIDATES, OLLAMA, OPENAI, TARGETS, WORKS, Candidate

DOCS = Path(__file__).parent.parent / "docs"
PAGE = DOCS / "performance.md"
PICTURE = DOCS / "performance.svg"
BEGIN, END = "<!-- made by `make bench`: begin -->", "<!-- made by `make bench`: end -->"
LANGUAGES = {OLLAMA: "Ollama's API", OPENAI: "the OpenAI-compatible API"}
PACKAGES = {"any-llm": "any-llm-sdk"}
MIB = 2**20


class Spread(NamedTuple):
    """The middle of many ratios, and between which the middle half of them lies."""

    middle: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Of at least one value."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        low, _, high = quantiles(values, n=4, method="inclusive")
        return cls(median(values), low, high)

    def __str__(self) -> str:
        """Show three figures of each."""
        return f"{figure(self.middle)} ({figure(self.low)}-{figure(self.high)})"


def figure(value: float) -> str:
    """Write a number with about three figures."""
    return f"{value:.0f}" if value >= 99.5 else f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def ratio(
    found: dict[str, Any], work: str, measure: str, ours: str, theirs: str, other: str = ""
) -> Spread:
    """How much one costs of what another costs, round by round."""
    above = found["works"][work][ours][measure]
    below = found["works"][other or work][theirs][measure]
    return Spread.of([a / b for a, b in zip(above, below, strict=False)])


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Write a table, numbers to the right."""
    lines = [heads, ["---", *["--:"] * (len(heads) - 1)], *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def text(found: dict[str, Any]) -> str:
    """Everything that was measured, as Markdown."""
    return "\n\n".join(parts(found))


def parts(found: dict[str, Any]) -> Iterator[str]:
    """Go through the tables."""
    machine = found["machine"]
    where = ", ".join(machine[part] for part in ("kind", "system", "python"))
    yield f"Measured on {found['date']}: {where}."
    yield f"Versions: {versions(found)}."
    yield "### Targets"
    yield table(["Work", "beside", "by", "at most", "measured", ""], targets(found))
    for style, language in LANGUAGES.items():
        yield f"### Clients of {language}"
        for measure, name in (("cpu", "CPU time"), ("wall", "Wall time")):
            yield f"{name}, as a multiple of the floor's in the same round:"
            yield language_table(found, style, measure)
    yield "### Where a whole chat of 20 pieces spends its time in Patinox"
    yield "Share of each part under Python's profiler, which makes small functions look dear:"
    yield table(["", "%"], [(part, f"{share:.0%}"[:-1]) for part, share in found["parts"].items()])
    yield "### Pieces that come one every 5 ms"
    yield paced(found)
    yield "### Before the first call"
    yield table(["", "import, CPU ms", "memory, MB", "packages", "installed, MiB"], starts(found))
    yield watch(found)
    yield "### The stub server alone"
    yield "Answers per second that it gives to a client written in C:"
    yield table(["", "a second"], [(what, f"{rate:,.0f}") for what, rate in found["stub"].items()])


def versions(found: dict[str, Any]) -> str:
    """Name what was compared."""
    named = [PACKAGES.get(name, name) for name in found["versions"]]
    told = zip(named, found["versions"].values(), strict=True)
    return ", ".join(f"{name} {installed[name]}" for name, installed in told)


def targets(found: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Each target and what came of it."""
    titles = {work.key: work.title for work in WORKS}
    for target in TARGETS:
        other = "embed_float" if target.work == "embed_base64" else ""
        spread = ratio(found, target.work, target.measure, target.ours, target.theirs, other)
        by = {"wall": "wall time", "cpu": "CPU time"}[target.measure]
        row = (titles[target.work], target.what, by, f"{target.limit:.3g}", str(spread))
        yield (*row, reached(spread.middle <= target.limit))
    for style in LANGUAGES:
        delay = median(found["works"]["stream_paced"][f"patinox_async/{style}"]["delay"])
        base = median(found["works"]["stream_paced"][f"aiohttp_direct/{style}"]["delay"])
        added = (delay - base) * 1e3
        what = f"aiohttp direct, {'Ollama' if style == OLLAMA else 'OpenAI'}"
        row = ("Delay of a piece that comes every 5 ms", what, "ms added", "0.1", f"{added:.3f}")
        yield (*row, reached(added < 0.1))
    cost = {name: median(found["import"][name]["cpu"]) for name in found["import"]}
    for peer, limit in (("ollama", 1 / 2), ("openai", 1 / 3)):
        value = cost["patinox"] / cost[peer]
        row = ("Import", f"`{peer}`", "CPU time", f"{limit:.3g}", f"{value:.2f}")
        yield (*row, reached(value <= limit))
    memory = {key: median(taken) for key, taken in found["memory"].items()}
    value = memory["patinox_async/ollama"] / memory["ollama_async/ollama"]
    row = ("Memory after the first call", "`ollama`", "resident", "1", f"{value:.2f}")
    yield (*row, reached(value < 1))
    packages, size = found["weight"]["patinox"]
    row = ("Installation", "", "packages, MiB", "14, 15", f"{packages}, {size / MIB:.1f}")
    yield (*row, reached(packages <= 14 and size <= 15 * MIB))
    share = found["watch"]["share"] * 100
    row = ("Watching four services", "", "% of a core", "0.2", f"{share:.3f}")
    yield (*row, reached(share < 0.2))


def reached(yes: bool) -> str:  # noqa: FBT001  it is the whole argument
    """Say whether a target is met."""
    return "met" if yes else "**not met**"


def language_table(found: dict[str, Any], style: str, measure: str) -> str:
    """Clients of one language beside the floor."""
    works = [
        work for work in WORKS if not work.paced and f"floor/{style}" in found["works"][work.key]
    ]
    rows = []
    for candidate in CANDIDATES:
        if candidate.style == style:
            cells = [cell(found, work.key, measure, candidate) for work in works]
            rows.append((candidate.label, *cells))
    floors = [median(found["works"][work.key][f"floor/{style}"][measure]) * 1e6 for work in works]
    rows[0] = (rows[0][0], *(f"{value:.3g} us" for value in floors))
    return table(["", *(work.title for work in works)], rows)


def cell(found: dict[str, Any], work: str, measure: str, candidate: Candidate) -> str:
    """One ratio to the floor."""
    if candidate.key not in found["works"][work]:
        return "-"
    return str(ratio(found, work, measure, candidate.key, f"floor/{candidate.style}"))


def paced(found: dict[str, Any]) -> str:
    """What a client adds where the model is what takes time."""
    streams, whole = found["works"]["stream_paced"], found["works"]["chat_paced"]
    rows = []
    for candidate in CANDIDATES:
        taken = streams.get(candidate.key)
        if taken is None:
            continue
        delay = f"{median(taken['delay']) * 1e3:.3f}" if taken["delay"] else "-"
        seconds = median(taken["wall"]) * 200
        chat = whole.get(candidate.key)
        rows.append(
            (
                f"{candidate.label} ({candidate.style})",
                delay,
                f"{median(taken['cpu']) * 1e6:.0f}",
                f"{seconds:.4f}",
                f"{median(chat['wall']):.4f}" if chat else "-",
            )
        )
    heads = ["", "delay of a piece, ms", "CPU per piece, us", "stream, s", "whole chat, s"]
    return table(heads, rows)


def starts(found: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Import, memory and weight of each package."""
    for name, cost in found["import"].items():
        taken = [median(kb) for key, kb in found["memory"].items() if _module(key) == name]
        packages, size = found["weight"][name]
        yield (
            f"**{name}**" if name == "patinox" else PACKAGES.get(name, name),
            f"{median(cost['cpu']) * 1e3:.0f}",
            f"{min(taken) / 1e3:.0f}" if taken else "-",
            str(packages),
            f"{size / MIB:.1f}",
        )


def _module(key: str) -> str:
    """The package whose asynchronous client this is, or nothing."""
    module = key.partition("/")[0]
    found = {candidate.module: candidate.environment for candidate in CANDIDATES}[module]
    return found if module.endswith(("_async", "_plain")) else ""


def watch(found: dict[str, Any]) -> str:
    """What finding and watching services costs."""
    spent, first = found["watch"], median(found["discovery"])
    return (
        f"Finding three services took Patinox {first * 1e3:.0f} ms, the HTTP client's import"
        f" included; watching {spent['services']}, each probed every {spent['interval']:g} s, takes"
        f" {spent['share'] * 100:.3f} % of a core."
    )


def write(found: dict[str, Any]) -> None:
    """Put the tables into the page, and the picture beside it."""
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    picture = f"![CPU time beside the peers]({PICTURE.name})"
    made = f"{BEGIN}\n\n{picture}\n\n{text(found)}\n\n{END}"
    PAGE.write_text(before + made + after, encoding="utf-8")
    draw(found)


def draw(found: dict[str, Any]) -> None:
    """Draw CPU times as bars, shorter is better."""
    import matplotlib  # noqa: ICN001, PLC0415  only this needs it

    matplotlib.use("svg")
    matplotlib.rcParams |= {"svg.hashsalt": "patinox", "svg.fonttype": "none", "font.size": 9}
    from matplotlib import pyplot as plt  # noqa: PLC0415

    panels = (
        ("chat_20", "A whole chat of 20 pieces", 1e6, "us of CPU"),
        ("stream_200", "A streamed piece", 1e6, "us of CPU"),
        ("embed_float", "32 vectors as text", 1e3, "ms of CPU"),
    )
    figure_, axes = plt.subplots(1, len(panels), figsize=(13, 6), sharey=True)
    shown = [c for c in CANDIDATES if c.key in found["works"]["stream_200"]][::-1]
    labels = [f"{c.label.replace('*', '')} ({c.style})" for c in shown]
    for axis, (work, title, factor, unit) in zip(axes, panels, strict=True):
        taken = [found["works"][work].get(candidate.key) for candidate in shown]
        values = [median(each["cpu"]) * factor if each else 0.0 for each in taken]
        colors = ["#b5651d" if candidate.ours else "#8a8f98" for candidate in shown]
        bars = axis.barh(labels, values, color=colors)
        axis.bar_label(bars, [figure(v) if v else "" for v in values], padding=3, fontsize=8)
        axis.set_xscale("log")
        axis.set_xlim(min(v for v in values if v) / 2, max(values) * 4)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel(unit + " (log)")
        axis.spines[["top", "right"]].set_visible(False)
    figure_.tight_layout()
    figure_.savefig(PICTURE, metadata={"Date": None}, bbox_inches="tight")
