"""What only a process of its own can show: pipes, signals, terminals."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import pytest

from patinox.embedded import Engine, demo_model
from patinox.testing import (
    LMStudioEmulator,
    OllamaAnswer,
    OllamaEmulator,
    OllamaModel,
    OllamaPrompt,
)

if sys.platform == "win32":
    pytest.skip("there are no pseudo-terminals on Windows", allow_module_level=True)

import asyncio
import fcntl
import pty
import select
import struct
import termios

pytestmark = pytest.mark.slow

SECONDS = 30.0  # for what takes a few at most
# Ctrl-C may be ignored by whoever started the tests, and a terminal has to be taken over.
START = """
import fcntl, signal, sys, termios
from patinox.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)
if sys.stdin.isatty():
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
sys.exit(main())
"""
COMMAND = (sys.executable, "-c", START)
ANSI = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[OllamaEmulator]:
    """Serve a model whose answer takes longer than any test waits."""
    model = OllamaModel(name="slow", loaded=True, reply=OllamaAnswer(text=("word ",) * 10_000))
    with OllamaEmulator(models=[model], chunk_delay=0.02).run_in_thread() as server:
        monkeypatch.setenv("OLLAMA_ENDPOINT", server.url)
        yield server


class Terminal:
    """A command on a pseudo-terminal, with a keyboard and a screen."""

    def __init__(self, *arguments: str, columns: int = 80, term: str = "xterm") -> None:
        self._own, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.process = subprocess.Popen(
            [*COMMAND, *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            env={**os.environ, "TERM": term},
        )
        os.close(theirs)
        self.screen = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._own)

    def press(self, keys: str) -> None:
        os.write(self._own, keys.encode(errors="surrogateescape"))

    def wait_for(self, text: str, *, times: int = 1) -> None:
        until(lambda: self._read() and self.screen.count(text) >= times, lambda: self.screen)

    def wait_for_end(self) -> int:
        until(lambda: self._read() and self.process.poll() is not None, lambda: self.screen)
        self._read()
        return self.process.wait()

    def _read(self) -> bool:
        """Take what is on the screen by now; true, so that it can be a condition."""
        while select.select([self._own], [], [], 0.02)[0]:
            try:
                data = os.read(self._own, 65536)
            except OSError:  # the other end is closed
                break
            if not data:
                break
            self.screen += data.decode()
        return True


def until(condition: Callable[[], bool], said: Callable[[], object] = str) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, f"it did not happen: {said()!r}"


def start(
    *arguments: str, stdin: int = subprocess.DEVNULL, stdout: int = subprocess.PIPE
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *arguments], stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=SECONDS)
    return process.returncode, out, err


@pytest.mark.usefixtures("ollama")
def test_python_can_run_it_as_a_module() -> None:
    command = [sys.executable, "-m", "patinox", "models", "--json"]
    assert subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.startswith(b"[{")


@pytest.mark.usefixtures("ollama")
def test_exit_codes_reach_the_shell() -> None:
    assert finish(start("show", "nope:1b"))[0] == 3
    assert finish(start("chat", "-t", "9", "hi"))[0] == 2


def test_bytes_that_are_no_text_are_replaced(ollama: OllamaEmulator) -> None:
    command: list[str | bytes] = [*COMMAND, "chat", "qwen3:4b", b"caf\xe9"]
    assert subprocess.run(command, check=True, stdin=subprocess.DEVNULL).returncode == 0
    assert ollama.requests[-1].json["messages"][0]["content"] == "caf\ufffd"


@pytest.mark.usefixtures("ollama")
@pytest.mark.parametrize(
    "command",
    [
        *(["models"], ["chat", "qwen3:4b", "hi"], ["--version"], ["--help"], ["chat", "--help"]),
        *(["nosuch", "--json"], ["chat", "--nosuch", "--json"], ["models", "-m", "nope", "--json"]),
    ],
)
def test_a_reader_that_goes_away_is_no_error(command: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = start(*command, stdout=writing)
    os.close(writing)
    assert finish(process)[2].count("Traceback") == 0
    assert process.returncode == 0


def test_a_reader_that_goes_away_stops_the_answer(slow: OllamaEmulator) -> None:
    process = start("chat", "slow", "hi")
    assert process.stdout
    assert process.stdout.read(5) == "word "
    process.stdout.close()
    assert process.stderr
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(SECONDS) == 0
    until(lambda: slow.client_gone == 1)


def test_ctrl_c_stops_the_answer_on_the_server_too(slow: OllamaEmulator) -> None:
    process = start("chat", "slow", "hi")
    assert process.stdout
    assert process.stdout.read(5) == "word "
    process.send_signal(signal.SIGINT)
    code, out, err = finish(process)
    assert code == 130
    assert out.endswith("\n")
    assert err.strip() == ""
    until(lambda: slow.client_gone == 1)


@pytest.mark.parametrize("pause", [0.0, 0.01, 0.05])
def test_a_second_ctrl_c_ends_it_at_once(slow: OllamaEmulator, pause: float) -> None:
    process = start("chat", "slow", "hi")
    assert process.stdout
    assert process.stdout.read(5) == "word "
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(pause)
    process.send_signal(signal.SIGINT)
    code, _, err = finish(process)
    assert code in (130, -signal.SIGINT)
    assert err.strip() == ""
    until(lambda: slow.client_gone == 1)


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_ctrl_c_in_bench_keeps_what_was_measured(
    monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    asked = 0

    def slows_down(_: OllamaPrompt) -> OllamaAnswer:
        nonlocal asked
        asked += 1  # one to warm up, one alone, and then two at once
        return OllamaAnswer(text=("word ",) * (10_000 if asked > 2 else 2))

    models = (OllamaModel(name="quick", reply="Blue."), OllamaModel(name="slows", reply=slows_down))
    with OllamaEmulator(models=models, chunk_delay=0.02).run_in_thread() as server:
        monkeypatch.setenv("OLLAMA_ENDPOINT", server.url)
        process = start("bench", "quick", "slows", "--rounds", "1", "--concurrency", "2", *words)
        until(lambda: asked == 4)
        process.send_signal(signal.SIGINT)
        code, out, err = finish(process)
        until(lambda: server.client_gone == 2)
    assert code == 130
    assert "Traceback" not in err
    if words:
        quick, slows = json.loads(out)["results"]
        assert quick["error"] is None
        assert slows["error"] == "It was stopped before all was measured."
        assert [level["at_once"] for level in slows["levels"]] == [1]
    else:
        rows = [line.split() for line in out.splitlines() if "ollama" in line]
        assert [row[0] for row in rows] == ["quick:latest", "slows:latest", "ollama::slows:latest"]
        assert (rows[0][-1] == "-", rows[1][-1]) == (False, "-")
        assert "ollama::slows:latest ended early. It was stopped before all was measured." in out


def test_ctrl_c_in_bench_before_anything_is_measured_tells_nothing(slow: OllamaEmulator) -> None:
    process = start("bench", "slow", "--json")
    until(lambda: any(seen.path == "/api/chat" for seen in slow.requests))
    process.send_signal(signal.SIGINT)
    code, out, err = finish(process)
    assert (code, out) == (130, "")
    assert "Traceback" not in err


def test_ctrl_c_while_standard_input_is_awaited_ends_it(slow: OllamaEmulator) -> None:
    process = start("chat", "slow", stdin=subprocess.PIPE)
    until(lambda: any(seen.path == "/api/show" for seen in slow.requests))
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(0.3)
    process.send_signal(signal.SIGINT)
    code, out, err = finish(process)
    assert code == 130
    assert (out, err.strip()) == ("", "")


@pytest.mark.usefixtures("ollama")
@pytest.mark.parametrize("command", [["status"], ["models"], ["doctor"], ["chat", "hi"]])
def test_without_a_terminal_there_is_no_control_character(
    command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    code, out, err = finish(start(*command))
    assert code == 0
    assert (out + err).replace("\n", "").isprintable()


@pytest.mark.usefixtures("ollama", "lmstudio")
@pytest.mark.parametrize("command", ["status", "models", "doctor"])
def test_forty_columns_are_enough(command: str) -> None:
    with Terminal(command, columns=40) as terminal:
        assert terminal.wait_for_end() == 0
    lines = ANSI.sub("", terminal.screen).splitlines()
    assert "\x1b[1m" in terminal.screen
    assert max(len(line) for line in lines) <= 40


@pytest.mark.usefixtures("ollama")
def test_colours_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    with Terminal("status") as terminal:
        assert terminal.wait_for_end() == 0
    assert "\x1b" not in terminal.screen


def test_ctrl_c_in_a_conversation_stops_the_answer_and_nothing_else(slow: OllamaEmulator) -> None:
    with Terminal("chat", "slow") as terminal:
        terminal.wait_for("> ")
        terminal.press("first\n")
        terminal.wait_for("word word ")
        terminal.press("\x03")
        terminal.wait_for("(stopped)")
        terminal.wait_for("> ", times=2)
        until(lambda: slow.client_gone == 1)  # while the conversation waits for the person
        terminal.press("second\n")
        terminal.wait_for("word word ", times=2)
        terminal.press("\x03\x03\x03")  # as people do
        terminal.wait_for("(stopped)", times=2)
        terminal.wait_for("> ", times=3)
        terminal.press("\x03")
        terminal.wait_for("Ctrl-D or /exit leaves.")
        terminal.press("\x04")
        assert terminal.wait_for_end() == 0
    assert "Traceback" not in terminal.screen
    first, second = (seen.json for seen in slow.requests if seen.path == "/api/chat")
    assert [each["content"] for each in first["messages"]] == ["first"]
    assert second["messages"][1]["content"].startswith("word word ")
    assert second["messages"][2]["content"] == "second"


@pytest.mark.usefixtures("ollama")
def test_a_conversation_has_a_history() -> None:
    with Terminal("chat", "qwen3:4b") as terminal:
        terminal.wait_for("> ")
        terminal.press("colour\n")
        terminal.wait_for("tokens/s")
        terminal.wait_for("> ", times=2)
        terminal.press("\x1b[A\n")
        terminal.wait_for("tokens/s", times=2)
        terminal.wait_for("> ", times=3)
        terminal.press("caf\udce9\n")  # a byte that is no text
        terminal.wait_for("tokens/s", times=3)
        terminal.press("/exit\n")
        assert terminal.wait_for_end() == 0
    assert terminal.screen.count("> colour") == 2


@pytest.mark.engine
def test_three_servers_are_three_services(
    ollama: OllamaEmulator, lmstudio: LMStudioEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    import json

    with asyncio.Runner() as runner:
        engine = runner.run(Engine.start(demo_model()))
        monkeypatch.setenv("LLAMACPP_ENDPOINT", engine.url)
        monkeypatch.setenv("LLAMA_API_KEY", engine.api_key)
        code, out, err = finish(start("status", "--json"))
        said = finish(start("chat", "llamacpp::patinox-tiny", "What is 3 + 4?"))
        runner.run(engine.stop())
    found = json.loads(out)["services"]
    assert (code, err) == (0, "")
    assert [each["id"] for each in found] == ["ollama", "lmstudio", "llamacpp"]
    assert [each["endpoint"] for each in found] == [ollama.url, lmstudio.url, engine.url]
    assert said[0] == 0
    assert said[1].strip()
    assert "on llama.cpp · " in said[2]


def test_nothing_is_kept_of_what_was_said(slow: OllamaEmulator, tmp_path: Path) -> None:
    with Terminal("chat", "slow") as terminal:
        terminal.wait_for("> ")
        terminal.press("a secret\n")
        terminal.wait_for("word ")
        terminal.press("\x03")
        terminal.wait_for("(stopped)")
        terminal.wait_for("> ", times=2)
        terminal.press("\x04")
        assert terminal.wait_for_end() == 0
    assert slow.requests
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.usefixtures("ollama")
@pytest.mark.parametrize(
    ("command", "streams"),
    [
        ("chat -m qwen3:4b hi", "<&-"),
        ("status", ">&-"),
        ("status --json", "2>&-"),
        ("show nope", "<&- >&- 2>&-"),
        ("--version", ">&-"),
    ],
)
def test_closed_streams_are_no_reason_to_fail(command: str, streams: str) -> None:
    code, _, err = in_shell(f"{command} {streams}")
    assert code == (3 if "nope" in command else 0)
    assert "Traceback" not in err


@pytest.mark.usefixtures("ollama")
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk always full")
@pytest.mark.parametrize("command", ["models", "--help", "--version", "chat qwen3:4b hi"])
def test_a_full_disk_is_told_in_a_line(command: str) -> None:
    code, _, err = in_shell(f"{command} </dev/null >/dev/full")
    assert (code, err) == (1, "The output cannot be written: No space left on device.\n")
    assert in_shell(f"{command} </dev/null >/dev/full 2>&1") == (1, "", "")


@pytest.mark.parametrize("module", ["patinox.cli", "patinox.cli.app", "typer", "asyncio"])
def test_ctrl_c_while_it_starts_is_an_interruption(module: str) -> None:
    """An import during which the signal comes; whoever runs the program must not see how."""
    program = f"""
import runpy, signal, sys
class Interrupt:
    def find_spec(self, name, *_):
        if name == {module!r}:
            signal.raise_signal(signal.SIGINT)
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Interrupt())
sys.argv = ["patinox", "status"]
runpy.run_module("patinox", run_name="__main__", alter_sys=True)
"""
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


def test_marks_that_turn_the_direction_of_writing_are_escaped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer = OllamaModel(name="turns", reply=OllamaAnswer(text="a\u200f\u200e\u061cb"))
    with OllamaEmulator(models=[answer]).run_in_thread() as server:
        monkeypatch.setenv("OLLAMA_ENDPOINT", server.url)
        for more in ((), ("--json",)):
            code, out, _ = finish(start("chat", "turns", "hi", *more))
            assert code == 0
            assert "a\\u200f\\u200e\\u061cb" in out


def in_shell(command: str) -> tuple[int, str, str]:
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "$0" -m patinox {command}', sys.executable],
        check=False,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def slow_downloads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Serve downloads that take longer than any test waits."""
    new = OllamaModel(name="new:1b", size=4_000_000_000)
    with (
        OllamaEmulator(models=(), pullable=[new], chunk_delay=SECONDS).run_in_thread() as ollama,
        LMStudioEmulator(download_steps=10_000).run_in_thread() as lmstudio,
    ):
        monkeypatch.setenv("OLLAMA_ENDPOINT", ollama.url)
        monkeypatch.setenv("LMSTUDIO_ENDPOINT", lmstudio.url)
        monkeypatch.setenv("LOCAL_AUTO_DISCOVER", "false")
        yield


@pytest.mark.usefixtures("slow_downloads")
@pytest.mark.parametrize(
    ("name", "shown", "said"),
    [
        ("new:1b", "pulling manifest", "Stopped. Pull it again: what is there already is not"),
        ("lmstudio::acme/one", "0 % ", "LM Studio goes on downloading; stop it in its window."),
    ],
)
def test_ctrl_c_stops_a_download_and_says_what_becomes_of_it(
    name: str, shown: str, said: str
) -> None:
    with Terminal("pull", name) as terminal:
        terminal.wait_for(shown)
        terminal.press("\x03")
        assert terminal.wait_for_end() == 130
        assert said in ANSI.sub("", terminal.screen)
