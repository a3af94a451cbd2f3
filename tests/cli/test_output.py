import io
import json
import sys

import pytest

from patinox.cli.output import (
    Output,
    ReaderGone,
    Terminal,
    error_document,
    exit_code,
    failure_lines,
    to_json,
)
from patinox.provider.errors import AuthenticationError, InvalidRequest, ProviderError
from patinox.provider.local.errors import (
    AllServicesFailed,
    InvalidConfiguration,
    ModelNotFound,
    ServiceError,
    ServiceNotFound,
    StreamInterrupted,
)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ServiceError("x"), 1),
        (InvalidRequest("the server says so", status=400), 1),
        (AllServicesFailed("x", attempts={"a": ModelNotFound("y")}), 1),
        (InvalidRequest("said before anything was sent"), 2),
        (InvalidConfiguration("x"), 2),
        (ModelNotFound("x"), 3),
        (ServiceNotFound("x"), 3),
    ],
)
def test_each_error_has_its_exit_code(error: ProviderError, code: int) -> None:
    assert exit_code(error) == code


def test_a_failure_is_told_in_a_line_each_what_why_and_what_next() -> None:
    error = ServiceError("It failed.", hint="Restart it.")
    error.__cause__ = ServiceError("Out of memory.")
    assert failure_lines(error) == ["It failed.", "Out of memory.", "Restart it."]


def test_a_cause_that_the_message_repeats_is_left_out() -> None:
    error = ServiceError("It failed: no memory.")
    error.__cause__ = ServiceError("no memory.")
    assert failure_lines(error) == ["It failed: no memory.", "Next: patinox doctor"]


def test_an_error_that_needs_no_doctor_ends_with_itself() -> None:
    assert failure_lines(AuthenticationError("No key.")) == ["No key."]


def test_every_attempt_is_told() -> None:
    attempts = {"ollama": ServiceError("crash"), "lmstudio": ServiceError("no")}
    error = AllServicesFailed("All 2 services failed. ...", attempts=attempts, hint="Hm.")
    assert failure_lines(error) == [
        "All 2 services failed.",
        "ollama: crash",
        "lmstudio: no",
        "Hm.",
    ]
    assert error_document(error)["error"]["attempts"] == {
        "ollama": {"type": "ServiceError", "message": "crash"},
        "lmstudio": {"type": "ServiceError", "message": "no"},
    }


def test_how_much_had_arrived_is_told() -> None:
    error = StreamInterrupted("It broke.", text="x" * 1234)
    assert "1,234 characters had arrived; they are above." in failure_lines(error)
    assert error_document(error)["error"]["text"] == "x" * 1234


def test_words_of_a_server_are_escaped_in_failures() -> None:
    assert failure_lines(AuthenticationError("\x1b[2Jno\nkey")) == [r"\x1b[2Jno\nkey"]


def test_an_error_is_a_document_of_stable_fields() -> None:
    error = ModelNotFound("No.", nearest=("a::b",), hint="All.", service="a", status=404)
    assert error_document(error) == {
        "error": {
            "type": "ModelNotFound",
            "message": "No.",
            "hint": "All.",
            "service": "a",
            "status": 404,
            "retryable": True,
            "retry_after": None,
            "nearest": ["a::b"],
        }
    }


def test_json_holds_no_character_that_could_move_a_cursor() -> None:
    value = {"a": "\x1b\x9b\u202e\u2028\ud800é漢"}
    text = to_json(value)
    assert text == '{"a": "\\u001b\\u009b\\u202e\\u2028\\ud800é漢"}'
    assert json.loads(text) == value
    assert to_json(value, unicode=False).isascii()


def test_what_is_said_on_a_terminal_is_broken_between_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", screen := Screen())
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("TERM", "dumb")
    out = Output()
    out.remark("(the smallest that makes vectors)")
    out.failure(AuthenticationError("There is no key for it."))
    assert screen.getvalue().splitlines() == [
        "(the smallest that",
        "makes vectors)",
        "  There is no key",
        "  for it.",
    ]


def test_a_closed_pipe_is_no_error_of_writing() -> None:
    class Closed(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    with pytest.raises(ReaderGone):
        Terminal(Closed()).write("x")


def test_a_stream_of_ascii_gets_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    out = Output()
    out.lines(["a · b é"])
    out.document({"a": "é"})
    assert raw.getvalue() == b'a - b ?\n{"a": "\\u00e9"}\n'


@pytest.mark.parametrize(
    ("variable", "value", "live", "color"),
    [
        ("TERM", "xterm", True, True),
        ("TERM", "dumb", False, False),
        ("NO_COLOR", "1", True, False),
    ],
)
def test_what_a_terminal_can_show_is_asked_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, *, live: bool, color: bool
) -> None:
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv(variable, value)
    terminal = Terminal(Screen())
    assert (terminal.live, terminal.canvas.color) == (live, color)


def test_what_is_no_terminal_has_no_colours_even_if_they_are_forced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    terminal = Terminal(io.StringIO())
    assert not terminal.live
    assert terminal.canvas == (None, False)
