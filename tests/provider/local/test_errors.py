import inspect
import re
from typing import Any

import pytest

from patinox.provider import errors as common
from patinox.provider.errors import ConfigurationError, ModelNotAvailable, ProviderError
from patinox.provider.local import errors
from patinox.provider.local.errors import (
    AllServicesFailed,
    InvalidConfiguration,
    LocalProviderError,
    ModelNotFound,
    ModelNotLoaded,
    NetworkError,
    ParseError,
    ResponseTooLarge,
    ServiceError,
    ServiceTimeout,
    ServiceUnavailable,
    StreamInterrupted,
)
from patinox.provider.types import ToolCall

KINDS = {
    name: kind
    for name, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, ProviderError) and kind.__module__ == errors.__name__
}
REQUIRED: dict[type[ProviderError], dict[str, Any]] = {
    ServiceTimeout: {"phase": "idle", "seconds": 2.0},
    AllServicesFailed: {"attempts": {}},
}


def made(kind: type[ProviderError], **facts: Any) -> ProviderError:  # noqa: ANN401
    return kind("It broke.", **(REQUIRED.get(kind, {}) | facts))


def test_the_tree_is_as_it_is_drawn() -> None:
    above, bases = [(-1, "LocalProviderError")], dict[str, set[str]]()
    drawing = re.findall(
        r"^([| ]*)[|`]- (\w+) +(?:also an? (\w+))?", errors.__doc__ or "", re.MULTILINE
    )
    for edge, name, beside in drawing:
        above = [(column, kind) for column, kind in above if column < len(edge)]
        bases[name] = {above[-1][1], *([beside] if beside else [])}
        above.append((len(edge), name))
    assert {*bases, "LocalProviderError"} == {*KINDS}
    assert bases == {name: {base.__name__ for base in KINDS[name].__bases__} for name in bases}
    assert "LocalProviderError (a ProviderError)" in (errors.__doc__ or "")
    assert LocalProviderError.__bases__ == (ProviderError,)


@pytest.mark.parametrize("kind", KINDS.values())
def test_an_error_says_what_happened_and_what_to_do_next(kind: type[ProviderError]) -> None:
    error = made(kind, hint="Mend it.")
    assert str(error) == "It broke. Mend it."
    assert made(kind).what == "It broke."
    assert (error.service, error.status, error.delivered) == (None, None, False)


@pytest.mark.parametrize(
    ("phase", "setting"),
    [
        ("first_token", "deadlines={'first_token': seconds}"),
        ("idle", "deadlines={'idle': seconds}"),
        ("attempt", "`timeout` in the settings of the service"),
        ("total", "`timeout` of the request, or --timeout"),
    ],
)
def test_a_limit_that_passed_says_how_to_raise_it(phase: str, setting: str) -> None:
    error = ServiceTimeout("Too late.", phase=phase, seconds=1.0)
    assert str(error) == f"Too late. Allow it more: {setting}."
    assert ServiceTimeout("Too late.", phase="headers", seconds=1.0).hint is None


@pytest.mark.parametrize("kind", [kind for kind in KINDS.values() if kind is not AllServicesFailed])
def test_an_error_tells_which_service_it_came_from(kind: type[ProviderError]) -> None:
    assert made(kind, service="ollama").service == "ollama"


@pytest.mark.parametrize("kind", KINDS.values())
def test_one_name_catches_everything_that_goes_wrong_on_this_machine(
    kind: type[ProviderError],
) -> None:
    with pytest.raises(LocalProviderError):
        raise made(kind)


@pytest.mark.parametrize("kind", KINDS.values())
def test_another_server_may_do_better_where_this_one_is_at_fault(kind: type[ProviderError]) -> None:
    elsewhere = {NetworkError, ServiceUnavailable, ServiceTimeout, ServiceError, ParseError}
    elsewhere |= {ResponseTooLarge, ModelNotFound, ModelNotLoaded}
    assert made(kind).retryable is (kind in elsewhere)


def test_a_missing_model_and_a_wrong_setting_are_also_what_every_provider_calls_so() -> None:
    assert issubclass(ModelNotFound, ModelNotAvailable)
    assert issubclass(ModelNotLoaded, ModelNotAvailable)
    assert issubclass(InvalidConfiguration, ConfigurationError)
    assert common.ModelNotAvailable is ModelNotAvailable


def test_a_missing_model_tells_the_nearest_names() -> None:
    error = ModelNotFound("No.", nearest=("ollama::qwen3:4b",), service="ollama", status=404)
    assert error.nearest == ("ollama::qwen3:4b",)
    assert (error.service, error.status) == ("ollama", 404)
    assert ModelNotFound("No.").nearest == ()


def test_whether_the_kernel_refused_is_kept() -> None:
    assert ServiceUnavailable("No.", refused=True).refused
    assert not ServiceUnavailable("No.").refused


def test_a_timeout_tells_its_phase_and_limit() -> None:
    error = ServiceTimeout("No.", phase="total", seconds=1.5, retryable=False)
    assert (error.phase, error.seconds, error.retryable) == ("total", 1.5, False)


def test_an_interruption_carries_what_had_arrived() -> None:
    call = ToolCall("1", "f", "{")
    error = StreamInterrupted(
        "No.", text="a", reasoning="b", tool_calls=(call,), service="ollama", retryable=True
    )
    assert (error.text, error.reasoning, error.tool_calls) == ("a", "b", (call,))
    assert (error.service, error.retryable) == ("ollama", True)
    empty = StreamInterrupted("No.")
    assert (empty.text, empty.reasoning, empty.tool_calls) == ("", "", ())


def test_every_attempt_is_kept_in_its_order() -> None:
    attempts = {"b": ServiceError("1"), "a": ServiceUnavailable("2")}
    error = AllServicesFailed("No.", attempts=attempts, hint="See.")
    attempts.clear()
    assert [(name, why.message) for name, why in error.attempts.items()] == [
        ("b", "1"),
        ("a", "2"),
    ]
