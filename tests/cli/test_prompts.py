import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from patinox.cli import prompts
from patinox.cli.output import Output
from patinox.cli.prompts import join_prompt, read_images, read_piped, read_schema
from patinox.provider.errors import InvalidRequest
from patinox.provider.images import Image


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


GIF = b"GIF89a"


def test_pictures_are_read_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.gif").write_bytes(GIF + b"a")
    (tmp_path / "b.gif").write_bytes(GIF + b"b")
    found = read_images([tmp_path / "b.gif", "~/a.gif"])
    assert found == (Image(GIF + b"b"), Image(GIF + b"a"))
    assert read_images([]) == ()


def test_a_schema_comes_from_a_file_or_from_standard_input(tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    path.write_text('{"title": "café", "type": "array"}', encoding="utf-8")
    assert read_schema(str(path), io.StringIO("")).parse("[]") == []
    assert read_schema("-", io.StringIO('{"type": "null"}')).parse("null") is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "cannot be read: No such file or directory."),
        (b"{", "is not JSON: Input data was truncated."),
        (b"[]", "is not JSON: Expected `object`, got `array`."),
        (b"\xff", "is not JSON: 'utf-8' codec"),
        (b'{"type": "text"}', "The JSON schema is not valid"),
    ],
)
def test_what_is_no_schema_is_refused(tmp_path: Path, text: bytes | None, why: str) -> None:
    path = tmp_path / "schema.json"
    if text is not None:
        path.write_bytes(text)
    with pytest.raises(InvalidRequest) as caught:
        read_schema(str(path), io.StringIO(""))
    assert why in str(caught.value)
