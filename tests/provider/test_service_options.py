"""What one kind of server alone can be told: its own words, and nothing out of range."""

from typing import Any

import pytest

from patinox.provider.errors import InvalidRequest
from patinox.provider.service_options import (
    LlamaCppOptions,
    LMStudioOptions,
    OllamaOptions,
    ServiceOptions,
)
from patinox.provider.types import CompletionRequest, TextCompletionRequest

FULL: tuple[ServiceOptions, ...] = (
    OllamaOptions(
        num_ctx=8192,
        num_batch=256,
        num_gpu=-1,
        num_thread=0,
        num_keep=24,
        draft_num_predict=4,
        repeat_last_n=-1,
        keep_alive=-1.0,
        truncate=False,
    ),
    LMStudioOptions(ttl=60, draft_model="qwen/qwen3-0.6b"),
    LlamaCppOptions(
        grammar='root ::= "a"',
        cache_prompt=True,
        id_slot=-1,
        repeat_last_n=64,
        typical_p=0.5,
        ignore_eos=False,
    ),
)


@pytest.mark.parametrize("options", FULL, ids=lambda options: options.service_type)
def test_every_option_is_said_in_the_servers_word_for_it(options: ServiceOptions) -> None:
    words = options.words()
    assert words == {name: getattr(options, name) for name in options.__struct_fields__}
    assert None not in words.values()


@pytest.mark.parametrize("kind", [OllamaOptions, LMStudioOptions, LlamaCppOptions])
def test_what_is_not_set_is_not_said(kind: type[ServiceOptions]) -> None:
    assert kind().words() == {}


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (OllamaOptions, "num_ctx", 0),
        (OllamaOptions, "num_ctx", 4096.0),
        (OllamaOptions, "num_batch", 0),
        (OllamaOptions, "num_gpu", -2),
        (OllamaOptions, "num_thread", -1),
        (OllamaOptions, "num_keep", -2),
        (OllamaOptions, "draft_num_predict", -1),
        (OllamaOptions, "repeat_last_n", -2),
        (OllamaOptions, "keep_alive", "5m"),
        (OllamaOptions, "keep_alive", True),
        (OllamaOptions, "keep_alive", float("inf")),
        (OllamaOptions, "truncate", 1),
        (LMStudioOptions, "ttl", 0),
        (LMStudioOptions, "ttl", True),
        (LMStudioOptions, "draft_model", 7),
        (LlamaCppOptions, "grammar", b"root"),
        (LlamaCppOptions, "cache_prompt", 0),
        (LlamaCppOptions, "id_slot", -2),
        (LlamaCppOptions, "repeat_last_n", -2),
        (LlamaCppOptions, "typical_p", 1.5),
        (LlamaCppOptions, "ignore_eos", "yes"),
    ],
)
def test_what_cannot_be_right_is_refused_by_its_name(
    kind: type[ServiceOptions],
    field: str,
    value: Any,  # noqa: ANN401
) -> None:
    with pytest.raises(InvalidRequest, match=field):
        kind(**{field: value})


@pytest.mark.parametrize(
    "request_", [CompletionRequest("m", "Hi", service_options=FULL)], ids=["chat"]
)
@pytest.mark.parametrize("options", FULL, ids=lambda options: options.service_type)
def test_options_reach_the_service_they_are_for_and_no_other(
    request_: CompletionRequest, options: ServiceOptions
) -> None:
    assert request_.words_for(options.service_type) == options.words()
    assert request_.words_for("another") == {}


def test_typed_options_win_over_those_in_the_servers_words() -> None:
    request = TextCompletionRequest(
        "m", "Once", service_options=LMStudioOptions(ttl=60), options={"ttl": 1, "preset": "p"}
    )
    assert request.words_for("lmstudio") == {"ttl": 60, "preset": "p"}
    assert request.words_for("ollama") == {"ttl": 1, "preset": "p"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([OllamaOptions(), OllamaOptions()], "two for one kind of service: ollama, ollama"),
        ({"num_ctx": 1}, "`service_options` must be text or a list, not dict"),
        ([{"num_ctx": 1}], "`service_options` holds a dict; allowed: OllamaOptions"),
        (None, "`service_options` must be text or a list, not NoneType"),
    ],
)
def test_options_that_are_none_are_refused(given: Any, said: str) -> None:  # noqa: ANN401
    with pytest.raises(InvalidRequest, match=said):
        CompletionRequest("m", "Hi", service_options=given)
