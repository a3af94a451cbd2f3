import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn, TypeAlias
from xml.etree import ElementTree as ET

import pytest
from PIL import Image

from patinox.cli.figures import Level, Result, Subject, spread
from patinox.cli.plot import draw, picture
from patinox.cli.render import Canvas
from patinox.cli.scoreboard import report
from patinox.testing import OllamaEmulator, OllamaError, OllamaModel, OllamaPrompt

Run: TypeAlias = Callable[..., Any]  # what `conftest.py` makes: arguments to a `Result`
BRIEF = ("--rounds", "2", "--concurrency", "2")


@pytest.fixture
def cold(monkeypatch: pytest.MonkeyPatch) -> Iterator[OllamaEmulator]:
    """One server with nothing in memory."""
    models = (OllamaModel(name="small", size=1), OllamaModel(name="big", size=10**10))
    with OllamaEmulator(models=models).run_in_thread() as emulator:
        monkeypatch.setenv("OLLAMA_ENDPOINT", emulator.url)
        yield emulator


def asked(server: OllamaEmulator) -> list[dict[str, Any]]:
    return [seen.json for seen in server.requests if seen.path == "/api/chat"]


@pytest.mark.usefixtures("lmstudio")
def test_a_model_in_memory_is_measured_on_each_service(run: Run, ollama: OllamaEmulator) -> None:
    result = run("bench", *BRIEF)
    assert result.code == 0
    header, *lines = [line for line in result.out.splitlines() if line]
    assert header.split()[:6] == ["MODEL", "SERVICE", "LOAD", "FIRST", "READS", "WRITES"]
    assert header.endswith("  1 AT ONCE  2 AT ONCE")
    assert [line.split()[:2] for line in lines[:2]] == [
        ["qwen/qwen3-4b-2507", "lmstudio"],
        ["qwen3:4b", "ollama"],
    ]
    assert "tokens per second" in lines[2]
    assert "the reading of the prompts included" in lines[2]
    # One to warm up, then two rounds of one and of two at once.
    assert len(asked(ollama)) == 1 + 2 * 1 + 2 * 2
    said = result.err.splitlines()
    assert said[0].startswith("Measuring lmstudio::qwen/qwen3-4b-2507, ollama::qwen3:4b: 7 req")
    assert said[2].startswith("ollama::qwen3:4b · first token ")


def test_each_prompt_begins_in_its_own_way_and_the_first_only_warms_up(
    run: Run, ollama: OllamaEmulator
) -> None:
    run("bench", "qwen3:4b", *BRIEF, "--prompt", "Why?", "--max-tokens", "9")
    prompts = [request["messages"][-1]["content"] for request in asked(ollama)]
    beginnings = [re.fullmatch(r"([0-9a-f]{4})-(\d)\. Why\?", prompt) for prompt in prompts]
    assert sorted(found[2] for found in beginnings if found) == list("1234567")
    limits = [request["options"]["num_predict"] for request in asked(ollama)]
    assert limits == [1, 9, 9, 9, 9, 9, 9]


def test_a_named_model_is_measured_wherever_it_is(
    run: Run, ollama: OllamaEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    with OllamaEmulator(models=(OllamaModel(name="llama3.2:3b"),)).run_in_thread() as second:
        monkeypatch.setenv("LOCAL_ENDPOINT", second.url)
        everywhere = run("bench", "llama3.2:3b", *BRIEF, "--json").json["results"]
        there = run("bench", "ollama::llama3.2:3b", *BRIEF, "--json").json["results"]
    assert len({each["service"] for each in everywhere}) == 2
    assert {each["model"] for each in everywhere} == {"llama3.2:3b"}
    assert "ollama" in {each["service"] for each in there}
    assert asked(ollama)


def test_each_row_is_measured_on_its_own_service(
    run: Run, twins: dict[str, OllamaEmulator]
) -> None:
    measured = run("bench", "qwen3:4b", *BRIEF, "--json").json["results"]
    assert sorted(each["service"] for each in measured) == ["attic", "ollama"]
    assert {len(asked(server)) for server in twins.values()} == {7}


def test_an_exact_id_is_measured_alone(run: Run, twins: dict[str, OllamaEmulator]) -> None:
    (measured,) = run("bench", "ollama::qwen3:4b", *BRIEF, "--json").json["results"]
    assert measured["service"] == "ollama"
    assert {name: len(asked(server)) for name, server in twins.items()} == {
        "ollama": 7,
        "attic": 0,
    }


def test_what_is_measured_is_told_in_fields_with_units(run: Run, ollama: OllamaEmulator) -> None:
    result = run("bench", "llama3.2:3b", *BRIEF, "--json")
    assert result.code == 0
    document = result.json
    assert set(document) == {"patinox", "date", "machine", "settings", "results"}
    assert document["settings"] == {
        "rounds": 2,
        "max_tokens": 64,
        "concurrency": [1, 2],
        "prompt_characters": document["settings"]["prompt_characters"],
        "timeout_seconds": None,
    }
    (measured,) = document["results"]
    assert measured["model"] == "llama3.2:3b"
    assert (measured["service"], measured["service_type"]) == ("ollama", "ollama")
    assert measured["service_version"] == ollama.version
    assert measured["in_memory_before"] is False
    assert (measured["load_seconds"] > 0, measured["load_measured_by"]) == (True, "server")
    for field, by in (
        ("first_token_seconds", "client"),
        ("prompt_tokens_per_second", "server"),
        ("answer_tokens_per_second", "server"),
    ):
        told = measured[field]
        assert told["least"] <= told["median"] <= told["most"]
        assert (len(told["samples"]), told["measured_by"]) == (2, by)
    assert [level["at_once"] for level in measured["levels"]] == [1, 2]
    assert len(measured["levels"][1]["tokens_per_second"]["samples"]) == 2
    assert len(measured["levels"][1]["first_token_seconds"]["samples"]) == 4
    assert (measured["warnings"], measured["error"]) == ([], None)


def test_where_nothing_is_in_memory_the_usual_model_is_measured(
    run: Run, cold: OllamaEmulator
) -> None:
    result = run("bench", *BRIEF, "--json")
    assert [each["model"] for each in result.json["results"]] == ["small:latest"]
    assert {request["model"] for request in asked(cold)} == {"small:latest"}


def test_a_model_in_the_cloud_is_never_measured(
    run: Run, ollama: OllamaEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATINOX_ALLOW_CLOUD", "true")
    result = run("bench", "gpt-oss:120b-cloud", *BRIEF, "--json")
    assert result.code == 1
    assert result.json["error"]["type"] == "CloudModelRefused"
    assert not asked(ollama)


@pytest.mark.parametrize("names", [["nomic-embed-text"], ["qwen3:4b", "nomic-embed-text"]])
def test_a_model_that_does_not_chat_is_refused_before_anything_is_asked(
    run: Run, ollama: OllamaEmulator, names: list[str]
) -> None:
    result = run("bench", *names)
    assert (result.code, result.out) == (1, "")
    assert result.err.splitlines()[0] == "  'nomic-embed-text:latest' on Ollama does not chat."
    assert not asked(ollama)


@pytest.mark.parametrize("tires", [False, True])
def test_a_prompt_that_the_server_cut_is_told_once(
    run: Run, monkeypatch: pytest.MonkeyPatch, *, tires: bool
) -> None:
    seen = 0

    def reply(_: OllamaPrompt) -> str:
        nonlocal seen
        seen += 1
        return crash(_) if tires and seen > 1 else "Blue, mostly."

    with OllamaEmulator(models=[OllamaModel(name="m", reply=reply)]).run_in_thread() as server:
        monkeypatch.setenv("OLLAMA_ENDPOINT", server.url)
        words = ("bench", "m", *BRIEF, "--prompt", "word " * 9000)
        shown = run(*words)
        seen = 0
        (measured,) = run(*words, "--json").json["results"]
    cut = [line for line in measured["warnings"] if line.endswith("it seems to have cut it.")]
    assert len(cut) == 1
    assert shown.out.count("it seems to have cut it.") == 1
    assert "  ollama::m:latest: The server read " in shown.out


@pytest.mark.usefixtures("ollama")
def test_a_model_that_is_not_there_is_told_with_the_nearest(run: Run) -> None:
    result = run("bench", "qwen3:4", *BRIEF)
    assert result.code == 3
    assert "ollama::qwen3:4b" in result.err


def crash(_: OllamaPrompt) -> NoReturn:
    raise OllamaError(500, "llama runner process has terminated")


def test_a_model_that_fails_does_not_stop_the_others(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = OllamaModel(name="bad", reply=crash)
    with OllamaEmulator(models=(bad, OllamaModel(name="good"))).run_in_thread() as server:
        monkeypatch.setenv("OLLAMA_ENDPOINT", server.url)
        result = run("bench", "bad", "good", *BRIEF)
        again = run("bench", "bad", "good", *BRIEF, "--json")
    assert result.code == again.code == 1
    assert "good:latest" in result.out
    assert (result.out + result.err).count("ServiceError:") == 1
    assert "ollama::bad:latest failed. ServiceError:" in result.out
    assert "ollama::bad:latest failed.\n" in result.err
    assert not [line for line in result.out.splitlines() if line.startswith("  bad:latest")]
    failed, measured = again.json["results"]
    assert failed["error"].startswith("ServiceError: ")
    assert failed["levels"] == []
    assert measured["error"] is None


def test_what_was_measured_before_a_failure_is_kept(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0

    def tires(_: OllamaPrompt) -> str:
        nonlocal asked
        asked += 1
        if asked > 3:  # one to warm up, two alone
            raise OllamaError(500, "llama runner process has terminated")
        return "Blue, mostly."

    tired = OllamaModel(name="tired", reply=tires)
    with OllamaEmulator(models=[tired]).run_in_thread() as server:
        monkeypatch.setenv("OLLAMA_ENDPOINT", server.url)
        result = run("bench", "tired", *BRIEF, "--json")
        asked = 0
        shown = run("bench", "tired", *BRIEF)
    (measured,) = result.json["results"]
    header, row, failed, _ = [line for line in shown.out.splitlines() if line]
    assert header.endswith("2 AT ONCE")
    assert row.split()[:2] == ["tired:latest", "ollama"]
    assert row.endswith(" -")
    assert row.split()[-1] == "-" not in row.split()[-4:-1]
    assert failed.startswith("  ollama::tired:latest failed. ServiceError: ")
    assert result.code == shown.code == 1
    assert measured["error"].startswith("ServiceError: ")
    assert [level["at_once"] for level in measured["levels"]] == [1]
    assert len(measured["first_token_seconds"]["samples"]) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--rounds", "0"), "`--rounds` is 0; allowed: 1 to 100."),
        (("--concurrency", "65"), "`--concurrency` is 65; allowed: 1 to 64."),
        (("--max-tokens", "0"), "`max_tokens` is 0; allowed: a whole number from 1."),
        (("--timeout", "0"), "`timeout` is 0; allowed: seconds above 0"),
        (("--timeout", "-1"), "`timeout` is -1; allowed: seconds above 0"),
        (("--timeout", "-1.5"), "`timeout` is -1.5; allowed: seconds above 0"),
        (("--plot", "picture.gif"), "allowed: a name in .png or .svg."),
        (("--plot", "nowhere/picture.png"), "does not exist"),
    ],
)
def test_wrong_settings_are_told_before_anything_is_asked(
    run: Run, ollama: OllamaEmulator, arguments: tuple[str, str], said: str
) -> None:
    result = run("bench", *arguments)
    assert result.code == 2
    assert said in " ".join(result.err.split())
    assert not ollama.requests


def test_the_limit_is_one_of_each_request(run: Run, ollama: OllamaEmulator) -> None:
    assert "How long each request may take." in run("bench", "--help").out
    assert run("bench", "qwen3:4b", *BRIEF, "--timeout", "60", "--json").code == 0
    assert len(asked(ollama)) == 7


def test_a_missing_library_is_told_with_its_extra(
    run: Run, ollama: OllamaEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = run("bench", "--plot", "picture.png")
    assert result.code == 2
    assert 'pip install "patinox[bench]"' in result.err
    assert not ollama.requests


@pytest.fixture(scope="session")
def _fonts(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Let matplotlib open its fonts, which it keeps open, and write its cache where it is lost."""
    folder = tmp_path_factory.mktemp("matplotlib")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MPLCONFIGDIR", str(folder))
        draw([result_named("any")], folder / "picture.png", note="")


@pytest.mark.usefixtures("ollama", "_fonts")
@pytest.mark.slow
def test_a_picture_is_drawn_on_white(run: Run, tmp_path: Path) -> None:
    result = run("bench", "qwen3:4b", *BRIEF, "--plot", "picture.png")
    assert result.code == 0
    assert result.err.splitlines()[-1] == "The picture is in picture.png"
    with Image.open(tmp_path / "picture.png") as image:
        assert image.size[0] == 1500
        assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
        colors = image.convert("RGB").getcolors(maxcolors=2**24)
    assert colors is not None
    assert (0x00, 0x72, 0xB2) in {color for _, color in colors}  # the bar of the first model


def test_a_picture_that_cannot_be_written_is_told_before_anything_is_asked(
    run: Run, ollama: OllamaEmulator
) -> None:
    Path("picture.png").mkdir()
    result = run("bench", "qwen3:4b", *BRIEF, "--plot", "picture.png")
    assert (result.code, result.out) == (2, "")
    assert "picture.png' cannot be written: " in result.err
    assert not ollama.requests


@pytest.mark.usefixtures("ollama")
@pytest.mark.parametrize("before", [None, b"an old picture"])
def test_trying_whether_a_picture_can_be_written_leaves_all_as_it_was(
    run: Run, tmp_path: Path, before: bytes | None
) -> None:
    file = tmp_path / "picture.png"
    if before is not None:
        file.write_bytes(before)
    assert run("bench", "nobody-has-this:1b", "--plot", "picture.png").code == 3
    assert (file.read_bytes() if file.exists() else None) == before


@pytest.mark.usefixtures("ollama", "_fonts")
@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk always full")
def test_a_picture_that_does_not_fit_the_disk_is_told_after_the_results(run: Run) -> None:
    Path("picture.png").symlink_to("/dev/full")
    result = run("bench", "qwen3:4b", *BRIEF, "--plot", "picture.png")
    assert result.code == 1
    assert "qwen3:4b" in result.out
    said = "The picture cannot be written: No space left on device."
    assert result.err.splitlines()[-1] == said


def test_where_nothing_was_measured_there_is_no_picture(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with OllamaEmulator(models=[OllamaModel(name="bad", reply=crash)]).run_in_thread() as server:
        monkeypatch.setenv("OLLAMA_ENDPOINT", server.url)
        result = run("bench", "bad", *BRIEF, "--plot", "picture.png")
    assert result.code == 1
    assert result.err.splitlines()[-1] == "There is no picture: nothing was measured."
    assert not (tmp_path / "picture.png").exists()


def result_named(model: str, **measured: Any) -> Result:  # noqa: ANN401 - fields of a result
    subject = Subject(model=model, service="ollama", service_type="ollama")
    return Result(subject=subject, first_token_seconds=spread([1.5, 2.0]), **measured)


@pytest.mark.usefixtures("_fonts")
@pytest.mark.slow
def test_a_picture_names_what_it_shows_and_says_what_nobody_told(tmp_path: Path) -> None:
    file = tmp_path / "picture.svg"
    results = [
        result_named("cost$"),
        result_named("x" * 60),
        Result(subject=Subject(model="failed", service="ollama", service_type="ollama"), error="x"),
    ]
    draw(results, file, note="a note")
    assert ET.parse(file).getroot().tag.endswith("svg")  # noqa: S314 - our own file
    comments = file.read_text(encoding="utf-8")  # texts are shapes; each is named in a comment
    for text in ("seconds, less is better", "not told", "a note", "x" * 33, "1.8"):
        assert f"<!-- {text}" in comments
    assert "failed" not in comments
    assert "Several at once" not in comments


@pytest.mark.usefixtures("_fonts")
@pytest.mark.slow
@pytest.mark.parametrize("rates", [(1250.0, 1315.0), (5.0, 0.5), (0.0,), ()])
def test_every_mark_of_several_at_once_is_whole(rates: tuple[float, ...]) -> None:
    levels = tuple(
        Level(at_once=2**power, tokens_per_second=spread([rate]), first_token_seconds=None)
        for power, rate in enumerate(rates)
    )
    untold = (Level(at_once=16, tokens_per_second=None, first_token_seconds=None),) * 2
    drawn = picture([result_named("m", levels=(*levels, *untold))], note="")
    (panel,) = (axes for axes in drawn.axes if axes.get_xlabel() == "requests at once")
    bottom, top = panel.get_ylim()
    assert bottom == 0
    assert top >= max(rates, default=0.0) * 1.08 > top / 1.09 or not any(rates)


def test_on_a_terminal_the_table_grows_and_goes_away(
    run_on_terminal: Run, ollama: OllamaEmulator
) -> None:
    result = run_on_terminal("bench", "qwen3:4b", *BRIEF, columns=100)
    assert result.code == 0
    assert "warms up" in result.err
    assert "2 at once" in result.err
    assert "7 of 7 requests" in result.err
    assert "done" in result.err
    assert "\x1b[2K" in result.err  # wiped away
    assert "first token" not in result.err
    assert asked(ollama)


@pytest.mark.parametrize(("width", "shown"), [(None, True), (100, True), (64, False), (40, True)])
def test_one_at_once_is_shown_where_there_is_room(width: int | None, *, shown: bool) -> None:
    lines = report(Canvas(width=width), [result_named("a-model")], 4)
    table = "\n".join(lines).lower().partition("first is the time")[0]
    assert ("1 at once" in table) is shown
    assert "4 at once" in table


def test_a_report_becomes_a_list_where_there_is_no_room() -> None:
    (title, facts, *_) = report(Canvas(width=40), [result_named("a-model-with-a-long-name")], 4)
    assert title.strip() == "a-model-with-a-long-name"
    assert facts.split(" · ")[0].strip() == "service ollama"


@pytest.mark.engine
def test_the_engine_inside_is_measured_too(run: Run) -> None:
    result = run("bench", *BRIEF, "--max-tokens", "8", "--json")
    assert result.code == 0
    (measured,) = result.json["results"]
    assert (measured["model"], measured["service"]) == ("patinox-tiny", "embedded")
    assert measured["answer_tokens_per_second"]["median"] > 0
    assert measured["prompt_tokens_per_second"]["measured_by"] == "server"
    assert measured["load_seconds"] > 0
