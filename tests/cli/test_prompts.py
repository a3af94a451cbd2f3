import io
import os
import sys
from collections.abc import Iterator

import pytest

from patinox.cli import prompts
from patinox.cli.output import Output
from patinox.cli.prompts import join_prompt, read_piped


@pytest.fixture
def pipe() -> Iterator[tuple[io.TextIOWrapper, io.FileIO]]:
    reading, writing = os.pipe()
    with open(reading, encoding="utf-8") as stream, io.FileIO(writing, "w") as end:  # noqa: PTH123
        yield stream, end


def test_words_come_before_what_is_piped_in() -> None:
    assert join_prompt(["Sum", "it", "up:"], "a\nb\n") == "Sum it up:\n\na\nb"
    assert join_prompt([], "a\n") == "a"
    assert join_prompt(["a"], None) == "a"
    assert join_prompt([" "], "\n") == ""


def test_a_terminal_is_not_read() -> None:
    class Keyboard(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert read_piped(Keyboard("x"), Output(), wait=True) is None


@pytest.mark.skipif(sys.platform == "win32", reason="only sockets can be waited for on Windows")
def test_a_pipe_that_stays_empty_is_let_be_where_there_are_words(
    pipe: tuple[io.TextIOWrapper, io.FileIO],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(prompts, "PATIENCE", 0.01)
    assert read_piped(pipe[0], Output(), wait=False) == ""
    assert "Nothing came on standard input for 0.01 s" in capsys.readouterr().err


def test_what_is_in_the_pipe_is_read_to_its_end(pipe: tuple[io.TextIOWrapper, io.FileIO]) -> None:
    stream, writing = pipe
    writing.write(b"caf\xc3\xa9 \xff")
    writing.close()
    assert read_piped(stream, Output(), wait=False) == "café \ufffd"
