"""One door: which service is asked, when another one is, and what is said when none can answer."""

import asyncio
import base64
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from msgspec.structs import replace

from patinox.provider.config import ModelDefaults
from patinox.provider.errors import (
    AuthenticationError,
    CapabilityNotSupported,
    CloudModelRefused,
    ContextLengthExceeded,
    InvalidRequest,
    ModelMismatch,
    ProviderClosed,
    ProviderError,
    RateLimited,
)
from patinox.provider.images import Image
from patinox.provider.local.config import (
    Deadlines,
    DiscoveryConfig,
    EndpointConfig,
    LMStudioConfig,
    LocalProviderConfig,
    OllamaConfig,
)
from patinox.provider.local.coordinator import LocalProvider
from patinox.provider.local.errors import (
    AllServicesFailed,
    InvalidConfiguration,
    ModelNotFound,
    ParseError,
    ServiceError,
    ServiceNotFound,
    ServiceTimeout,
    ServiceUnavailable,
    StreamInterrupted,
)
from patinox.provider.local.types import ServiceStatus
from patinox.provider.secret import Secret
from patinox.provider.types import (
    CompletionMessage,
    CompletionRequest,
    EmbeddingRequest,
    ResponseStarted,
    Source,
    TextDelta,
)
from patinox.testing import (
    EmulatedServer,
    Exchange,
    LMStudioEmulator,
    LMStudioModel,
    OllamaEmulator,
    OllamaModel,
)

ConfigFor = Callable[..., LocalProviderConfig]
Serve = Callable[..., Any]  # the fixtures `web_server` and `raw_server`
Fault = Callable[[Exchange], Awaitable[bool]]
MODEL = "talker:1b"
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
ANSWER = "One two three four."
CHAT = CompletionRequest(MODEL, ["Count."])
FIRST = (
    b'{"model":"talker:1b","created_at":"2026-11-01T00:00:00Z",'
    b'"message":{"role":"assistant","content":"One "},"done":false}\n'
)
SECOND = FIRST.replace(b"One ", b"two ")
ERROR = b'{"error":"an error was encountered while running the model: unexpected EOF"}\n'


def talker(**fields: Any) -> OllamaModel:  # noqa: ANN401
    settings: dict[str, Any] = {"name": MODEL, "reply": ANSWER, **fields}
    return OllamaModel(**settings)


def called(name: str, server: EmulatedServer) -> EndpointConfig:
    return EndpointConfig.parse(server.url, name=name)


def on(path: str, act: Callable[[Exchange], Awaitable[None]]) -> Fault:
    async def fault(exchange: Exchange) -> bool:
        if exchange.path != path:
            return False
        await act(exchange)
        return True

    return fault


def says(*lines: bytes, then: str = "end") -> Callable[[Exchange], Awaitable[None]]:
    """Stream these lines; then end, reset the connection, or be silent."""

    async def act(exchange: Exchange) -> None:
        await exchange.start(200, content_type="application/x-ndjson")
        for line in lines:
            await exchange.send(line)
        if then == "reset":
            await asyncio.sleep(0.02)  # so that what was sent is read before it is lost
            exchange.abort()
        elif then == "silence":
            await asyncio.Event().wait()
        else:
            await exchange.finish()

    return act


def refuses(status: int, body: bytes) -> Callable[[Exchange], Awaitable[None]]:
    async def act(exchange: Exchange) -> None:
        await exchange.reply(status, body)

    return act


async def resets(exchange: Exchange) -> None:
    exchange.abort()


async def hangs(_: Exchange) -> None:
    await asyncio.Event().wait()


def chats(server: EmulatedServer) -> int:
    """How many answers or vectors were asked for."""
    places = ("/api/chat", "/api/embed", "/v1/chat/completions", "/v1/embeddings")
    return sum(seen.path in places for seen in server.requests)


async def hung_up(server: EmulatedServer) -> bool:
    async with asyncio.timeout(1):
        while not server.client_gone:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.001)
    return True


# Elsewhere, before the first output.

BEFORE: dict[str, tuple[Callable[[Exchange], Awaitable[None]], type[ProviderError], str]] = {
    "500": (
        refuses(500, b'{"error":"llama-server process has terminated"}'),
        ServiceError,
        "terminated",
    ),
    "502 in html": (refuses(502, b"<html>Bad Gateway</html>"), ServiceError, "HTTP 502"),
    "busy": (refuses(503, b'{"error":"server busy, please try again."}'), RateLimited, "busy"),
    "model gone": (refuses(404, b'{"error":"model \'x\' not found"}'), ModelNotFound, "not found"),
    "reset": (resets, ServiceUnavailable, "closed the connection"),
    "error first": (says(ERROR), ServiceError, "unexpected EOF"),
    "nothing": (says(), ParseError, "is empty"),
    "broken off in the first line": (says(FIRST[:40]), StreamInterrupted, "broke off"),
    "an empty message and no more": (
        says(FIRST.replace(b"One ", b"")),
        StreamInterrupted,
        "without saying that it is done",
    ),
    "reset after the head": (says(then="reset"), StreamInterrupted, "broke"),
    "no json": (says(b"<html>\n"), ParseError, "JSON"),
    "another model": (says(FIRST.replace(b"talker", b"walker")), ModelMismatch, "walker:1b"),
    "no output in time": (hangs, ServiceTimeout, "in time"),
}


@pytest.mark.parametrize("name", BEFORE)
async def test_before_the_first_output_another_service_is_asked(
    name: str, config_for: ConfigFor
) -> None:
    act, kind, said = BEFORE[name]
    patience = OllamaConfig(deadlines=Deadlines(first_token=0.1 if act is hangs else 10.0))
    async with OllamaEmulator(models=[talker()]) as bad, OllamaEmulator(models=[talker()]) as good:
        bad.faults.append(on("/api/chat", act))
        config = config_for(called("a-bad", bad), called("b-good", good), ollama=patience)
        async with LocalProvider(config) as local:
            response = await local.complete(CHAT)

            assert response.text == ANSWER
            assert response.service == "b-good"
            assert len(response.attempts) == 1
            assert response.attempts[0].startswith("a-bad: ")
            assert said in response.attempts[0]
            assert (chats(bad), chats(good)) == (1, 1)
            # Alone, it raises what is told of it.
            with pytest.raises(kind) as caught:
                await local.complete(CompletionRequest(f"a-bad::{MODEL}", ["Count."]))
            assert caught.value.service == "a-bad"
            assert caught.value.retryable
            assert not caught.value.delivered
            assert caught.value.message.partition(", 0.")[0] in response.attempts[0]


async def test_the_stream_itself_says_who_failed_before(config_for: ConfigFor) -> None:
    async with OllamaEmulator(models=[talker()]) as bad, OllamaEmulator(models=[talker()]) as good:
        # The beginning of an answer is no output: it may still come from elsewhere.
        bad.faults.append(on("/api/chat", says(FIRST.replace(b"One ", b""), ERROR)))
        async with LocalProvider(config_for(called("a", bad), called("b", good))) as local:
            async with local.stream_completion(CHAT) as stream:
                events = [event async for event in stream]

            started = [event for event in events if isinstance(event, ResponseStarted)]
            assert [event.service for event in started] == ["b"]
            assert started[0].attempts == (stream.response.attempts[0],)
            assert "unexpected EOF" in started[0].attempts[0]
            statuses = {info.id: info.status for info in local.services}
            assert statuses == {"a": ServiceStatus.DEGRADED, "b": ServiceStatus.AVAILABLE}
            rates = {info.id: info.metrics.success_rate for info in local.services}
            assert rates == {"a": 0.0, "b": 1.0}


async def test_a_service_that_failed_is_asked_later_than_one_that_did_not(
    config_for: ConfigFor,
) -> None:
    async with OllamaEmulator(models=[talker()]) as bad, OllamaEmulator(models=[talker()]) as good:
        bad.faults.append(on("/api/chat", resets))
        async with LocalProvider(config_for(called("a", bad), called("b", good))) as local:
            first = await local.complete(CHAT)
            second = await local.complete(CHAT)

            assert (len(first.attempts), second.attempts) == (1, ())
            assert first.reason == "is available"
            assert chats(bad) == 1


# Nowhere else.

AFTER: dict[str, tuple[Callable[[Exchange], Awaitable[None]], type[ProviderError]]] = {
    "error": (says(FIRST, SECOND, ERROR), ServiceError),
    "end": (says(FIRST, SECOND), StreamInterrupted),
    "end in a line": (says(FIRST, SECOND, SECOND[:30]), StreamInterrupted),
    "reset": (says(FIRST, SECOND, then="reset"), StreamInterrupted),
    "no json": (says(FIRST, SECOND, b"}{\n"), ParseError),
    "silence": (says(FIRST, SECOND, then="silence"), ServiceTimeout),
}


@pytest.mark.parametrize("name", AFTER)
async def test_after_the_first_output_nobody_else_is_asked_and_the_text_is_kept(
    name: str, config_for: ConfigFor
) -> None:
    act, cause = AFTER[name]
    patience = OllamaConfig(deadlines=Deadlines(idle=0.1))
    async with OllamaEmulator(models=[talker()]) as bad, OllamaEmulator(models=[talker()]) as good:
        bad.faults.append(on("/api/chat", act))
        config = config_for(called("a", bad), called("b", good), ollama=patience)
        async with LocalProvider(config) as local:
            with pytest.raises(StreamInterrupted) as caught:
                await local.complete(CHAT)

            error = caught.value
            assert error.text == "One two "
            assert (error.service, error.delivered, error.retryable) == ("a", True, False)
            assert isinstance(error.__cause__, cause)
            assert "after 8 characters" in error.message
            assert chats(good) == 0
            if isinstance(error.__cause__, ServiceTimeout):
                assert error.__cause__.phase == "idle"

            watch = local.discovery.watch
            watch.ended(watch.begin("a", limit=1), None)
            async with local.stream_completion(
                CompletionRequest(f"a::{MODEL}", ["Count."])
            ) as stream:
                with pytest.raises(StreamInterrupted):
                    await stream.collect()
                assert stream.text == "One two "


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, b'{"error":"json: cannot unmarshal"}', InvalidRequest),
        (500, b'{"error":"option \\"temperature\\" must be of type float32"}', InvalidRequest),
        (400, b'{"error":"\\"talker:1b\\" does not support thinking"}', CapabilityNotSupported),
        (
            400,
            (
                b'{"error":"{\\"error\\":{\\"message\\":\\"request (9412 tokens) exceeds the'
                b' available context size (8192 tokens)\\",'
                b'\\"type\\":\\"exceed_context_size_error\\",'
                b'\\"n_prompt_tokens\\":9412,\\"n_ctx\\":8192}}"}'
            ),
            ContextLengthExceeded,
        ),
    ],
    ids=["400", "bad option", "no thinking", "too long"],
)
async def test_a_fault_of_the_caller_goes_nowhere_else(
    status: int, body: bytes, kind: type[ProviderError], config_for: ConfigFor
) -> None:
    async with OllamaEmulator(models=[talker()]) as one, OllamaEmulator(models=[talker()]) as two:
        one.faults.append(on("/api/chat", refuses(status, body)))
        async with LocalProvider(config_for(called("a", one), called("b", two))) as local:
            with pytest.raises(kind) as caught:
                await local.complete(CHAT)

            assert (caught.value.service, caught.value.status) == ("a", status)
            assert chats(two) == 0
            info = local.get_service_info("a")
            assert info is not None
            assert info.status is ServiceStatus.AVAILABLE
            assert info.metrics.failures == 0


async def test_when_all_fail_each_is_told(config_for: ConfigFor) -> None:
    async with OllamaEmulator(models=[talker()]) as one, OllamaEmulator(models=[talker()]) as two:
        one.faults.append(on("/api/chat", resets))
        two.faults.append(on("/api/chat", says(ERROR)))
        async with LocalProvider(config_for(called("a", one), called("b", two))) as local:
            with pytest.raises(AllServicesFailed) as caught:
                await local.complete(CHAT)

            assert list(caught.value.attempts) == ["a", "b"]
            assert isinstance(caught.value.attempts["a"], ServiceUnavailable)
            assert isinstance(caught.value.attempts["b"], ServiceError)
            assert caught.value.__cause__ is caught.value.attempts["a"]
            for name, error in caught.value.attempts.items():
                assert f"{name}: {error.message}" in str(caught.value)


# Time.


async def test_the_callers_limit_counts_the_service_that_failed_before(
    config_for: ConfigFor,
) -> None:
    async with OllamaEmulator(models=[talker()]) as one, OllamaEmulator(models=[talker()]) as two:
        one.faults.append(on("/api/chat", hangs))
        two.faults.append(on("/api/chat", hangs))
        patience = OllamaConfig(deadlines=Deadlines(first_token=0.5))
        config = config_for(called("a", one), called("b", two), ollama=patience)
        async with LocalProvider(config) as local:
            await local.list_models()
            started = time.monotonic()
            with pytest.raises(ServiceTimeout) as caught:
                await local.complete(CompletionRequest(MODEL, ["Count."], timeout=0.9))

            assert caught.value.phase == "total"
            assert caught.value.service == "b"
            assert 0.8 < time.monotonic() - started < 3


async def test_when_the_time_is_over_nobody_else_is_asked(
    config_for: ConfigFor, clock: Callable[[], float]
) -> None:
    async with OllamaEmulator(models=[talker()]) as one, OllamaEmulator(models=[talker()]) as two:

        async def fails_late(exchange: Exchange) -> None:
            clock.passes(10)  # type: ignore[attr-defined]
            await exchange.reply(500, b"{}")

        one.faults.append(on("/api/chat", fails_late))
        config = config_for(called("a", one), called("b", two))
        async with LocalProvider(config, clock=clock) as local:
            with pytest.raises(ServiceTimeout, match="the whole call is over") as caught:
                await local.complete(CompletionRequest(MODEL, ["Count."], timeout=9))

            assert (caught.value.phase, caught.value.retryable) == ("total", False)
            assert chats(two) == 0


async def test_the_callers_limit_holds_while_the_models_are_listed(config_for: ConfigFor) -> None:
    async with OllamaEmulator(models=[talker()]) as slow:
        never_kept = OllamaConfig(cache_ttl=0.0)
        async with LocalProvider(config_for(slow, ollama=never_kept)) as local:
            slow.latency = 10.0
            started = time.monotonic()
            with pytest.raises(ServiceTimeout) as caught:
                await local.complete(CompletionRequest(MODEL, ["Count."], timeout=0.1))

            assert caught.value.phase == "total"
            assert time.monotonic() - started < 3


# Leaving.


async def test_leaving_a_stream_early_hangs_up(config_for: ConfigFor) -> None:
    async with (
        OllamaEmulator(models=[talker()], chunk_delay=5.0) as server,
        LocalProvider(config_for(server)) as local,
    ):
        async with local.stream_completion(CHAT) as stream:
            async for event in stream:
                if isinstance(event, TextDelta):
                    break

        assert await hung_up(server)
        assert stream.text == "One"


async def test_a_cancelled_task_hangs_up(config_for: ConfigFor) -> None:
    async with (
        OllamaEmulator(models=[talker()], chunk_delay=5.0) as server,
        LocalProvider(config_for(server)) as local,
    ):
        task = asyncio.create_task(local.complete(CHAT))
        async with asyncio.timeout(2):
            while not chats(server):  # noqa: ASYNC110 - there is no event to wait for
                await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert await hung_up(server)


async def test_a_stream_that_is_not_entered_says_how(config_for: ConfigFor) -> None:
    async with (
        OllamaEmulator(models=[talker()]) as server,
        LocalProvider(config_for(server)) as local,
    ):
        with pytest.raises(RuntimeError, match=r"async with provider\.stream_completion"):
            await anext(local.stream_completion(CHAT))
        assert not chats(server)


async def test_a_provider_that_is_not_entered_says_how() -> None:
    local = LocalProvider(LocalProviderConfig())
    assert repr(local) == "<LocalProvider: not entered>"
    with pytest.raises(RuntimeError, match="async with LocalProvider"):
        await local.list_models()


async def test_a_provider_that_was_left_is_closed_until_it_is_entered_again(
    config_for: ConfigFor,
) -> None:
    local = LocalProvider(config_for())
    for _ in range(2):
        async with local:
            assert local.services == ()
        for ask in (local.complete(CHAT), local.list_models()):
            with pytest.raises(ProviderClosed, match=r"is closed\. Enter it again\."):
                await ask


async def test_without_settings_the_environment_is_read_when_it_is_entered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with OllamaEmulator(models=[talker()]) as server:
        local = LocalProvider()
        monkeypatch.setenv("OLLAMA_ENDPOINT", server.url)
        monkeypatch.setenv("LOCAL_AUTO_DISCOVER", "false")
        async with local:
            assert local.available_services() == ["ollama"]
            assert local.config.monitor
            assert (await local.complete(CHAT)).text == ANSWER


async def test_a_wrong_setting_lets_nothing_open(config_for: ConfigFor) -> None:
    with pytest.raises(InvalidConfiguration, match="'vllm' is not known"):
        async with LocalProvider(config_for(EndpointConfig.parse("127.0.0.1:9", service="vllm"))):
            pytest.fail("it must not be entered")
    with pytest.raises(InvalidConfiguration, match="endpoint is 'http://:99999'"):
        EndpointConfig.parse("http://:99999", setting="endpoint")


# Names.


async def test_an_unknown_model_is_refused_before_anything_is_sent(config_for: ConfigFor) -> None:
    async with (
        OllamaEmulator(models=[talker()]) as ollama,
        LMStudioEmulator() as studio,
        LocalProvider(config_for(ollama, studio)) as local,
    ):
        with pytest.raises(ModelNotFound) as caught:
            await local.complete(CompletionRequest("qwen3-4b-2508", ["Hello"]))

        assert caught.value.nearest[0] == "lmstudio::qwen/qwen3-4b-2507"
        assert "Did you mean lmstudio::qwen/qwen3-4b-2507" in str(caught.value)
        with pytest.raises(ModelNotFound, match="on ollama") as caught:
            await local.complete(CompletionRequest("ollama::qwen3-4b-2507", ["Hello"]))
        with pytest.raises(ModelNotFound, match="on any service"):
            await local.embed(EmbeddingRequest("zzz", ["Hello"]))
        assert (chats(ollama), chats(studio)) == (0, 0)


async def test_an_unknown_service_is_answered_with_the_known_ones(config_for: ConfigFor) -> None:
    async with (
        OllamaEmulator(models=[talker()]) as ollama,
        LMStudioEmulator() as studio,
        LocalProvider(config_for(ollama, studio)) as local,
    ):
        with pytest.raises(
            ServiceNotFound, match="no service 'vllm' here; there are: ollama, lmstudio"
        ):
            await local.complete(CompletionRequest(f"vllm::{MODEL}", ["Hello"]))


async def test_where_nothing_runs_it_is_told_what_was_tried_and_how_to_start(
    config_for: ConfigFor, free_port: int, web_server: Serve
) -> None:
    async with (
        web_server(b"{}") as impostor,
        LocalProvider(config_for(f"127.0.0.1:{free_port}", "127.0.0.1:9", impostor)) as local,
    ):
        for call in (
            local.list_models(),
            local.complete(CHAT),
            local.embed(EmbeddingRequest(MODEL, ["a"])),
            local.default_model(),
        ):
            with pytest.raises(ServiceNotFound) as caught:
                await call
            said = str(caught.value)
            silent = f"127.0.0.1:{free_port}, 127.0.0.1:9"
            assert f"Tried: {silent} (could not be reached: nothing listens there); " in said
            assert f"127.0.0.1:{impostor.port} (something answers, but did not prove" in said
            for start in ("ollama serve", "lms server start", "llama-server -m model.gguf"):
                assert f"`{start}`" in said
        assert local.available_services() == []
        assert local.ollama is None
        assert local.lmstudio is None
        assert not await local.supports_model(MODEL)


async def test_exact_names_win_over_a_service_in_front(config_for: ConfigFor) -> None:
    slashed = LMStudioModel(key="ollama/talker:1b", loaded_context_length=4096, reply="slashed")
    async with (
        OllamaEmulator(models=[talker()]) as ollama,
        LMStudioEmulator([slashed]) as studio,
        LocalProvider(config_for(ollama, studio)) as local,
    ):
        exact = await local.complete(CompletionRequest("ollama/talker:1b", ["Hello"]))
        assert (exact.service, exact.text) == ("lmstudio", "slashed")
        named = await local.complete(CompletionRequest("ollama::talker:1b", ["Hello"]))
        assert (named.service, named.reason) == ("ollama", "asked for by name")
        assert not await local.supports_model("nowhere/talker:1b")


async def test_the_type_names_the_best_of_its_kind(config_for: ConfigFor) -> None:
    async with (
        OllamaEmulator(models=[talker()]) as one,
        OllamaEmulator(models=[talker()]) as two,
        LocalProvider(config_for(called("a", one), called("b", two))) as local,
    ):
        await one.stop()
        await local.refresh_services()
        response = await local.complete(CompletionRequest(f"ollama::{MODEL}", ["Hello"]))
        assert response.service == "b"
        assert local.ollama is not None
        assert local.ollama.id == "b"
        assert repr(local) == ("<LocalProvider 2 services: 1 available, 1 unavailable | 2 models>")


async def test_an_exact_id_is_asked_alone_however_busy_it_is(config_for: ConfigFor) -> None:
    async with OllamaEmulator(models=[talker()]) as one, OllamaEmulator(models=[talker()]) as two:
        places = (called("ollama", one), called("attic", two))
        async with LocalProvider(config_for(*places)) as local:
            request = CompletionRequest(f"ollama::{MODEL}", ["Hello"])
            answers = await asyncio.gather(*(local.complete(request) for _ in range(3)))
    assert {(answer.service, answer.reason) for answer in answers} == {
        ("ollama", "asked for by name")
    }
    assert (chats(one), chats(two)) == (3, 0)


async def test_a_model_that_only_another_of_the_kind_has_is_not_found_and_told_of(
    config_for: ConfigFor,
) -> None:
    async with OllamaEmulator(models=[]) as one, OllamaEmulator(models=[talker()]) as two:
        places = (called("ollama", one), called("attic", two))
        async with LocalProvider(config_for(*places)) as local:
            with pytest.raises(ModelNotFound) as caught:
                await local.complete(CompletionRequest(f"ollama::{MODEL}", ["Hello"]))
    assert caught.value.nearest == (f"attic::{MODEL}",)
    assert chats(two) == 0


async def test_a_default_is_on_the_preferred_id_before_the_preferred_kind(
    config_for: ConfigFor,
) -> None:
    async with OllamaEmulator(models=[talker()]) as one, OllamaEmulator(models=[talker()]) as two:
        places = (called("attic", one), called("ollama", two))
        for preferred, service in (("ollama", "ollama"), ("attic", "attic")):
            config = config_for(*places, preferred_service=preferred)
            async with LocalProvider(config) as local:
                info, _ = await local.default_model()
                assert info.service == service


async def test_a_model_that_came_after_the_list_is_found(config_for: ConfigFor) -> None:
    async with OllamaEmulator(models=[]) as ollama, LocalProvider(config_for(ollama)) as local:
        assert await local.list_models() == []
        ollama._store.add(talker())  # noqa: SLF001 - as if somebody pulled it
        assert (await local.complete(CHAT)).text == ANSWER


async def test_a_service_that_came_after_the_look_is_found(config_for: ConfigFor) -> None:
    late = OllamaEmulator(models=[talker()])
    await late.start()
    await late.stop()
    async with LocalProvider(config_for(late.url)) as local:
        assert local.available_services() == []
        async with late:
            assert (await local.complete(CHAT)).text == ANSWER


async def test_a_service_that_went_away_is_told_by_its_address(config_for: ConfigFor) -> None:
    async with (
        OllamaEmulator(models=[talker()]) as ollama,
        LocalProvider(config_for(ollama)) as local,
    ):
        await ollama.stop()
        with pytest.raises(ServiceNotFound, match=rf"{ollama.port} \(could not be reached"):
            await local.complete(CHAT)
        assert local.services[0].status is ServiceStatus.UNAVAILABLE


# What there is.


async def test_models_are_listed_one_for_each_service_and_sorted(config_for: ConfigFor) -> None:
    both = LMStudioModel(key=MODEL)
    async with (
        OllamaEmulator(models=[talker(), talker(name="aaa")]) as ollama,
        LMStudioEmulator([both]) as studio,
        LocalProvider(config_for(ollama, studio)) as local,
    ):
        listed = [(info.id, info.service) for info in await local.list_models()]
        assert listed == [
            ("aaa:latest", "ollama"),
            (MODEL, "lmstudio"),
            (MODEL, "ollama"),
        ]
        assert [str(info.model_id) for info in await local.list_models()][1:] == [
            f"lmstudio::{MODEL}",
            f"ollama::{MODEL}",
        ]
        assert local.ollama is not None
        assert local.lmstudio is not None
        assert [info.id for info in await local.ollama.list_models()] == ["aaa:latest", MODEL]
        assert await local.lmstudio.supports_model(MODEL)


async def test_a_service_that_cannot_list_does_not_hide_the_others(config_for: ConfigFor) -> None:
    never_kept = OllamaConfig(cache_ttl=0.0)
    async with OllamaEmulator(models=[talker()]) as bad, LMStudioEmulator() as good:
        async with LocalProvider(config_for(bad, good, ollama=never_kept)) as local:
            bad.faults.append(on("/api/tags", refuses(500, b"boom")))
            assert {info.service for info in await local.list_models()} == {"lmstudio"}
            assert not await local.supports_model(MODEL)

        async with LocalProvider(config_for(bad, ollama=never_kept)) as local:
            with pytest.raises(ServiceError, match="boom"):
                await local.list_models()


async def test_a_reply_that_breaks_the_contract_is_told_with_its_field(
    config_for: ConfigFor,
) -> None:
    async with OllamaEmulator(models=[talker()]) as ollama:
        ollama.faults.append(on("/api/tags", refuses(200, b'{"models":[{"name":5}]}')))
        async with LocalProvider(config_for(ollama)) as local:
            with pytest.raises(ParseError) as caught:
                await local.list_models()
            assert "/api/tags" in caught.value.message
            assert "$.models[0].name" in caught.value.message
            assert local.services[0].status is ServiceStatus.DEGRADED
            assert local.services[0].detail == caught.value.message


# Who is asked first.


async def test_a_model_in_memory_goes_before_one_on_disk_and_a_preference_before_both(
    config_for: ConfigFor,
) -> None:
    in_memory = LMStudioModel(key=MODEL, loaded_context_length=4096, reply="from memory")
    async with OllamaEmulator(models=[talker()]) as ollama, LMStudioEmulator([in_memory]) as studio:
        async with LocalProvider(config_for(ollama, studio)) as local:
            response = await local.complete(CHAT)
            assert (response.service, response.reason) == ("lmstudio", "has the model in memory")
            info = await local.find_model(MODEL)
            assert info is not None
            assert info.service == "lmstudio"
        config = config_for(ollama, studio, preferred_service="ollama")
        async with LocalProvider(config) as local:
            response = await local.complete(CHAT)
            assert (response.service, response.reason) == ("ollama", "preferred")


async def test_where_nothing_else_decides_the_kinds_have_an_order(config_for: ConfigFor) -> None:
    on_disk = LMStudioModel(key=MODEL)
    async with OllamaEmulator(models=[talker()]) as ollama, LMStudioEmulator([on_disk]) as studio:
        async with LocalProvider(config_for(studio, ollama)) as local:
            assert (await local.complete(CHAT)).service == "ollama"
        async with LocalProvider(config_for(ollama)) as local:
            alone = await local.complete(CHAT)
            assert alone.reason == "the only service that has the model"


async def test_which_model_where_none_is_named(config_for: ConfigFor) -> None:
    small = talker(name="small:1b", size=10)
    large = talker(name="large:9b", size=1000)
    embedder = talker(name="embed:1b", size=1, capabilities=("embedding",))
    cloud = talker(name="cloudy:1b-cloud", size=1, remote_model="cloudy:1b")
    loaded = LMStudioModel(key="loaded-model", loaded_context_length=4096, size_bytes=10**12)
    async with (
        OllamaEmulator(models=[large, small, embedder, cloud]) as ollama,
        LMStudioEmulator([loaded]) as studio,
    ):
        async with LocalProvider(config_for(ollama, studio)) as local:
            info, why = await local.default_model()
            assert (info.id, why) == ("loaded-model", "in memory")
        async with LocalProvider(config_for(ollama, allow_cloud=True)) as local:
            info, why = await local.default_model()
            assert (info.id, why) == ("small:1b", "the smallest chat model")
        config = config_for(ollama, studio, default_model="ollama::large:9b")
        async with LocalProvider(config) as local:
            info, why = await local.default_model()
            assert (info.id, why) == ("large:9b", "configured")
        async with LocalProvider(config_for(ollama, default_model="lage:9b")) as local:
            told = "It is the configured default model. Did you mean ollama::large:9b"
            with pytest.raises(ModelNotFound, match=told):
                await local.default_model()
    async with (
        OllamaEmulator(models=[embedder, cloud]) as ollama,
        LocalProvider(config_for(ollama)) as local,
    ):
        with pytest.raises(ModelNotFound, match="can chat"):
            await local.default_model()


async def test_a_default_for_pictures_is_known_to_see_them(config_for: ConfigFor) -> None:
    loaded = OllamaModel(name="blind:1b", loaded=True)
    seeing = OllamaModel(name="seeing:9b", capabilities=("completion", "vision"))
    async with OllamaEmulator(models=[loaded, seeing]) as ollama:
        async with LocalProvider(config_for(ollama)) as local:
            info, why = await local.default_model(vision=True)
            assert (info.id, why) == ("seeing:9b", "the smallest that sees pictures")
            assert (await local.default_model())[0].id == "blind:1b"
        async with LocalProvider(config_for(ollama, default_model="blind:1b")) as local:
            info, why = await local.default_model(vision=True)
            assert (info.id, why) == ("blind:1b", "configured")
    async with (
        OllamaEmulator(models=[loaded]) as ollama,
        LocalProvider(config_for(ollama)) as local,
    ):
        with pytest.raises(ModelNotFound, match="None of the models here is known to see pictures"):
            await local.default_model(vision=True)


async def test_defaults_fill_what_a_request_leaves_open(config_for: ConfigFor) -> None:
    async with (
        OllamaEmulator(models=[talker()]) as server,
        LocalProvider(config_for(server)) as local,
    ):
        agent = local.with_defaults(ModelDefaults(model=MODEL, temperature=0.25, max_tokens=2))
        request = agent.request(messages=["Count."], max_tokens=3)
        assert (request.model.name, request.temperature, request.max_tokens) == (MODEL, 0.25, 3)
        assert (await agent.complete(request)).text == "One two three"
        # Fields of a request that was made without them are filled when it is sent.
        assert (await agent.complete(CHAT)).text == "One two"
        assert server.requests[-1].json["options"] == {"temperature": 0.25, "num_predict": 2}
        bound = agent.with_defaults(ModelDefaults(temperature=1.0, timeout=60))
        assert bound.request(messages=["Count."]).temperature == 1.0
        assert bound.request(messages=["Count."]).timeout == 60
        assert (await local.complete(CHAT)).text == ANSWER


# What a model cannot do, or may not.


async def test_what_a_model_cannot_do_is_refused_before_anything_is_sent(
    config_for: ConfigFor,
) -> None:
    async with (
        OllamaEmulator() as ollama,
        LMStudioEmulator() as studio,
        LocalProvider(config_for(ollama, studio)) as local,
    ):
        for name in ("nomic-embed-text", "text-embedding-nomic-embed-text-v1.5"):
            with pytest.raises(CapabilityNotSupported, match="does not chat") as caught:
                await local.complete(CompletionRequest(name, ["Hello"]))
            assert not caught.value.retryable
        for name in ("llama3.2:3b", "qwen/qwen3-4b-2507"):
            with pytest.raises(CapabilityNotSupported, match="makes no embeddings"):
                await local.embed(EmbeddingRequest(name, ["Hello"]))
        assert (chats(ollama), chats(studio)) == (0, 0)


async def test_a_service_whose_model_can_goes_before_one_whose_model_cannot(
    config_for: ConfigFor,
) -> None:
    embeds = talker(capabilities=("embedding",))
    async with (
        OllamaEmulator(models=[embeds]) as one,
        OllamaEmulator(models=[talker()]) as two,
        LocalProvider(config_for(called("a", one), called("b", two))) as local,
    ):
        assert (await local.complete(CHAT)).service == "b"
        assert (await local.embed(EmbeddingRequest(MODEL, ["a"]))).service == "a"


async def test_a_cloud_model_is_marked_and_refused_unless_it_is_allowed(
    config_for: ConfigFor,
) -> None:
    stub = talker(name="cloudy:1b-cloud", remote_model="cloudy:1b")
    async with OllamaEmulator(models=[stub], cloud="signed-in") as ollama:
        async with LocalProvider(config_for(ollama)) as local:
            (info,) = await local.list_models()
            assert info.remote
            for name in ("cloudy:1b-cloud", "cloudy:1b:cloud", "other:70b-cloud"):
                with pytest.raises(CloudModelRefused, match="PATINOX_ALLOW_CLOUD=true"):
                    await local.complete(CompletionRequest(name, ["Hello"]))
            assert not chats(ollama)
        async with LocalProvider(config_for(ollama, allow_cloud=True)) as local:
            response = await local.complete(CompletionRequest("cloudy:1b-cloud", ["Hello"]))
            assert response.text == ANSWER


async def test_a_local_model_goes_before_one_in_the_cloud(config_for: ConfigFor) -> None:
    stub = talker(remote_model="talker:1b", loaded=False)
    async with (
        OllamaEmulator(models=[stub], cloud="signed-in") as cloudy,
        OllamaEmulator(models=[talker()]) as here,
    ):
        config = config_for(called("a", cloudy), called("b", here), allow_cloud=True)
        async with LocalProvider(config) as local:
            assert (await local.complete(CHAT)).service == "b"


# Vectors.


async def test_vectors_come_from_elsewhere_only_if_the_weights_are_the_same(
    config_for: ConfigFor,
) -> None:
    embeds = talker(capabilities=("embedding",))
    others = talker(capabilities=("embedding",), digest="ab" * 32)
    request = EmbeddingRequest(MODEL, ["a text"])
    for second, helps in ((embeds, True), (others, False)):
        async with (
            OllamaEmulator(models=[embeds]) as one,
            OllamaEmulator(models=[second]) as two,
        ):
            one.faults.append(on("/api/embed", refuses(500, b'{"error":"it has terminated"}')))
            async with LocalProvider(config_for(called("a", one), called("b", two))) as local:
                if helps:
                    assert (await local.embed(request)).service == "b"
                else:
                    with pytest.raises(ServiceError) as caught:
                        await local.embed(request)
                    assert caught.value.service == "a"
                    assert chats(two) == 0


async def test_a_fault_of_the_caller_in_vectors_goes_nowhere_else(config_for: ConfigFor) -> None:
    small = talker(capabilities=("embedding",), context_length=4)
    async with (
        OllamaEmulator(models=[small]) as one,
        OllamaEmulator(models=[small]) as two,
        LocalProvider(config_for(called("a", one), called("b", two))) as local,
    ):
        with pytest.raises(ContextLengthExceeded) as caught:
            await local.embed(EmbeddingRequest(MODEL, ["a text of many more words than fit"]))
        assert caught.value.service == "a"
        assert (chats(one), chats(two)) == (1, 0)


async def test_vectors_too_have_the_callers_limit(config_for: ConfigFor) -> None:
    embeds = talker(capabilities=("embedding",))
    async with OllamaEmulator(models=[embeds]) as ollama:
        ollama.faults.append(on("/api/embed", hangs))
        async with LocalProvider(config_for(ollama)) as local:
            await local.list_models()
            with pytest.raises(ServiceTimeout) as caught:
                await local.embed(EmbeddingRequest(MODEL, ["a"], timeout=0.3))
            assert (caught.value.phase, caught.value.service) == ("total", "ollama")


# Privacy.


async def test_no_key_shows_in_what_is_printed(config_for: ConfigFor) -> None:
    key = "sk-lm-Ab3dEf9h:0123456789abcdefghij"
    async with LMStudioEmulator(token="sk-lm-another0:0123456789abcdefghij") as studio:
        config = config_for(studio, lmstudio=LMStudioConfig(api_key=Secret(key)))
        async with LocalProvider(config) as local:
            said: list[str] = []
            for name in ("lmstudio::qwen/qwen3-4b-2507", "qwen/qwen3-4b-2507"):
                with pytest.raises(AuthenticationError, match="Set the key") as caught:
                    await local.complete(CompletionRequest(name, ["Hi"]))
                assert caught.value.service == "lmstudio"
                said.append(f"{caught.value!r} {caught.value}")

            shown = repr((local, config, local.services, local.discovery.findings, local.lmstudio))
            assert key[:10] not in shown
            assert key[:10] not in "".join(said)
            assert local.services[0].status is ServiceStatus.UNAUTHORIZED


async def test_facts_say_that_the_server_told_them(config_for: ConfigFor) -> None:
    async with (
        OllamaEmulator(models=[talker()]) as ollama,
        LocalProvider(config_for(ollama)) as local,
    ):
        found = await local.model_capabilities(MODEL)
        assert found is not None
        assert found.source("supports_chat") is Source.SERVER
        assert await local.model_capabilities("nothing") is None


async def test_a_request_is_filled_from_what_is_said_then_bound_then_configured() -> None:
    config = LocalProviderConfig(
        discovery_config=DiscoveryConfig(enabled_services=()), default_model="configured"
    )
    async with LocalProvider(config) as local:
        assert str(local.request(messages="Hello").model) == "configured"
        bound = local.with_defaults(ModelDefaults(model="bound", temperature=0.5))
        filled = bound.request(messages="Hello", temperature=1)
        assert (str(filled.model), filled.temperature) == ("bound", 1)
        assert str(bound.request(messages="Hello", model="said").model) == "said"


async def test_a_server_that_hangs_does_not_hold_up_one_that_has_the_model(
    config_for: ConfigFor,
) -> None:
    hanging = False

    async def hang(_: Exchange) -> bool:
        if hanging:
            await asyncio.Event().wait()
        return False

    ttl = OllamaConfig(cache_ttl=0)
    async with OllamaEmulator(models=[]) as slow, OllamaEmulator(models=[talker()]) as quick:
        slow.faults.append(hang)
        config = config_for(called("slow", slow), called("quick", quick), ollama=ttl)
        async with LocalProvider(config) as local:
            hanging = True
            started = time.monotonic()
            answer = await local.complete(CHAT)
            assert answer.service == "quick"
            assert time.monotonic() - started < 2


async def test_the_demo_model_does_not_stand_in_for_a_server_that_was_configured(
    config_for: ConfigFor, web_server: Serve
) -> None:
    async with web_server(b"{}") as other:
        place = EndpointConfig.parse(other.url, service="ollama", setting="OLLAMA_ENDPOINT")
        every = {"enabled_services": ("ollama", "embedded")}
        async with LocalProvider(config_for(place, discovery=every)) as local:
            with pytest.raises(ServiceNotFound, match="OLLAMA_ENDPOINT: something answers"):
                await local.default_model()


async def test_entering_twice_is_refused(config_for: ConfigFor) -> None:
    async with LocalProvider(config_for()) as local:
        with pytest.raises(RuntimeError, match="entered already"):
            await local.__aenter__()


@pytest.mark.parametrize("request_", ["Hello", {"model": MODEL}, None])
async def test_what_is_no_request_is_refused_in_a_line(
    config_for: ConfigFor, request_: object
) -> None:
    wrong: Any = request_
    async with LocalProvider(config_for()) as local:
        with pytest.raises(InvalidRequest, match="A request is a CompletionRequest"):
            await local.complete(wrong)
        with pytest.raises(InvalidRequest, match="A request is a EmbeddingRequest"):
            await local.embed(wrong)


def test_a_configuration_of_another_kind_is_refused_in_a_line() -> None:
    wrong: Any = "http://127.0.0.1:11434"
    with pytest.raises(InvalidConfiguration, match="`config` is a str"):
        LocalProvider(wrong)


# Who can do what is asked.


def look(city: str) -> str:
    """Look."""
    return city


async def test_who_cannot_do_what_is_asked_is_passed_over_for_one_who_can(
    config_for: ConfigFor,
) -> None:
    chats_only = talker(capabilities=("completion",), loaded=True)
    calls_tools = talker(capabilities=("completion", "tools"))
    asked = CompletionRequest(MODEL, "Count.", tools=[look])
    async with (
        OllamaEmulator(models=[chats_only]) as one,
        OllamaEmulator(models=[calls_tools]) as two,
        LocalProvider(config_for(called("a", one), called("b", two))) as local,
    ):
        answer = await local.complete(asked)
        assert (answer.service, answer.reason) == ("b", "the only one that can do what is asked")
        assert (await local.complete(CompletionRequest(MODEL, "Count."))).service == "a"
        with pytest.raises(CapabilityNotSupported, match="does not call tools"):
            await local.complete(replace(asked, model=f"a::{MODEL}"))
        pictures = replace(
            asked, tools=(), messages=[CompletionMessage.user(["What is this?", Image(PNG)])]
        )
        with pytest.raises(CapabilityNotSupported, match="does not see pictures"):
            await local.complete(pictures)


async def test_a_service_that_lacks_a_feature_is_passed_over_too(config_for: ConfigFor) -> None:
    ollama = OllamaModel(name=MODEL, capabilities=("completion", "tools"), loaded=True)
    studio = LMStudioModel(key=MODEL, tools=True)
    asked = CompletionRequest(MODEL, "Count.", tools=[look], tool_choice="required")
    async with (
        OllamaEmulator(models=[ollama]) as one,
        LMStudioEmulator([studio]) as two,
        LocalProvider(config_for(one, two)) as local,
    ):
        assert (await local.complete(asked)).service == "lmstudio"
