"""When a request is made again on the same server, how long is waited, and where that ends."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from patinox.provider.base import CompletionStream
from patinox.provider.errors import AuthenticationError, InvalidRequest, ProviderError, RateLimited
from patinox.provider.local.config import (
    Deadlines,
    EndpointConfig,
    HealthCheckConfig,
    LocalProviderConfig,
    OllamaConfig,
)
from patinox.provider.local.coordinator import LocalProvider
from patinox.provider.local.discovery import ServiceDiscovery
from patinox.provider.local.errors import (
    AllServicesFailed,
    ModelNotLoaded,
    ServiceError,
    ServiceTimeout,
    ServiceUnavailable,
    StreamInterrupted,
)
from patinox.provider.local.failover import Failover, Until
from patinox.provider.local.ollama import OllamaProvider
from patinox.provider.local.types import ServiceStatus
from patinox.provider.types import CompletionRequest, CompletionResponse, EmbeddingRequest
from patinox.testing import (
    EmulatedServer,
    Exchange,
    LlamaCppEmulator,
    LlamaCppModel,
    LMStudioEmulator,
    LMStudioModel,
    OllamaEmulator,
    OllamaModel,
)

ConfigFor = Callable[..., LocalProviderConfig]
Serve = Callable[..., Any]  # the fixture `web_server`
MODEL = "talker:1b"
ANSWER = "One two three four."
CHAT = CompletionRequest(MODEL, ["Count."])
BUSY = b'{"error":"server busy, please try again."}'
LOADING = b'{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}'


def talker(**fields: Any) -> OllamaModel:  # noqa: ANN401
    settings: dict[str, Any] = {"name": MODEL, "reply": ANSWER, **fields}
    return OllamaModel(**settings)


def called(name: str, server: EmulatedServer) -> EndpointConfig:
    return EndpointConfig.parse(server.url, name=name)


def first(
    path: str, times: int, act: Callable[[Exchange], Awaitable[None]]
) -> Callable[[Exchange], Awaitable[bool]]:
    """Have the first requests of this path answered in another way."""
    left = times

    async def fault(exchange: Exchange) -> bool:
        nonlocal left
        if exchange.path != path or not left:
            return False
        left -= 1
        await act(exchange)
        return True

    return fault


def refuses(status: int, body: bytes, **headers: str) -> Callable[[Exchange], Awaitable[None]]:
    async def act(exchange: Exchange) -> None:
        await exchange.reply(status, body, headers=headers)

    return act


def chats(server: EmulatedServer) -> int:
    return sum(seen.path in {"/api/chat", "/api/embed"} for seen in server.requests)


class Door:
    """A failover on a discovery, in whose time nobody really waits."""

    def __init__(self, discovery: ServiceDiscovery) -> None:
        self.waited: list[float] = []
        self.now = 1000.0
        self.failover = Failover(
            discovery, clock=lambda: self.now, sleep=self.sleep, random=lambda: 0.5
        )

    async def sleep(self, seconds: float) -> None:
        self.waited.append(seconds)
        self.now += seconds

    async def complete(self, request: CompletionRequest = CHAT) -> CompletionResponse:
        async with CompletionStream(self.failover.batches(request, whole=True)) as stream:
            return await stream.collect()


async def door(*servers: EmulatedServer | EndpointConfig, config_for: ConfigFor) -> Door:
    discovery = ServiceDiscovery(config_for(*servers), rng=random.Random(0))  # noqa: S311 - pauses
    await discovery.discover_services()
    return Door(discovery)


# The same server again.


async def test_a_busy_server_is_asked_again_when_it_said(config_for: ConfigFor) -> None:
    busy = refuses(503, BUSY, **{"Retry-After": "4"})
    async with OllamaEmulator(models=[talker()]) as server:
        server.faults.append(first("/api/chat", 1, busy))
        at = await door(server, config_for=config_for)
        answer = await at.complete()
        assert answer.text == ANSWER
        assert at.waited == [pytest.approx(4.0)]
        assert len(answer.attempts) == 1
        assert chats(server) == 2
        await at.failover._discovery.aclose()  # noqa: SLF001 - it is the test's own


async def test_another_server_is_asked_before_a_busy_one_is_waited_for(
    config_for: ConfigFor,
) -> None:
    busy = refuses(503, BUSY, **{"Retry-After": "4"})
    async with OllamaEmulator(models=[talker()]) as one, OllamaEmulator(models=[talker()]) as two:
        one.faults.append(first("/api/chat", 9, busy))
        at = await door(called("a", one), called("b", two), config_for=config_for)
        answer = await at.complete()
        assert (answer.service, at.waited) == ("b", [])
        await at.failover._discovery.aclose()  # noqa: SLF001


async def test_nobody_is_waited_for_longer_than_the_caller_allows(config_for: ConfigFor) -> None:
    busy = refuses(503, BUSY, **{"Retry-After": "4"})
    async with OllamaEmulator(models=[talker()]) as server:
        server.faults.append(first("/api/chat", 9, busy))
        at = await door(server, config_for=config_for)
        with pytest.raises(RateLimited) as caught:
            await at.complete(CompletionRequest(MODEL, ["Count."], timeout=3.9))
        assert (at.waited, caught.value.retry_after) == ([], 4.0)
        assert chats(server) == 1
        await at.failover._discovery.aclose()  # noqa: SLF001


async def test_a_busy_server_that_does_not_say_when_is_not_waited_for(
    config_for: ConfigFor,
) -> None:
    async with OllamaEmulator(models=[talker()]) as server:
        server.faults.append(first("/api/chat", 9, refuses(503, BUSY)))
        at = await door(server, config_for=config_for)
        with pytest.raises(RateLimited):
            await at.complete()
        assert chats(server) == 1
        await at.failover._discovery.aclose()  # noqa: SLF001


async def test_vectors_may_be_asked_for_twice_on_one_server(config_for: ConfigFor) -> None:
    async def resets(exchange: Exchange) -> None:
        exchange.abort()

    async with OllamaEmulator(models=[talker(capabilities=("embedding",))]) as server:
        server.faults.append(first("/api/embed", 1, resets))
        at = await door(server, config_for=config_for)
        response = await at.failover.embed(EmbeddingRequest(MODEL, ["a text"]))
        assert len(response.embeddings) == 1
        assert at.waited == [pytest.approx(0.1)]
        assert chats(server) == 2
        await at.failover._discovery.aclose()  # noqa: SLF001


async def test_an_answer_may_not(config_for: ConfigFor) -> None:
    async def resets(exchange: Exchange) -> None:
        exchange.abort()

    async with OllamaEmulator(models=[talker()]) as server:
        server.faults.append(first("/api/chat", 9, resets))
        at = await door(server, config_for=config_for)
        with pytest.raises(ServiceUnavailable) as caught:
            await at.complete()
        assert caught.value.sent
        assert chats(server) == 1
        await at.failover._discovery.aclose()  # noqa: SLF001


async def test_an_outage_does_not_multiply_the_load(config_for: ConfigFor) -> None:
    async with OllamaEmulator(models=[talker()]) as one, OllamaEmulator(models=[talker()]) as two:
        arrived = asyncio.Event()

        async def fails(exchange: Exchange) -> None:
            if chats(one) == 12:
                arrived.set()
            await arrived.wait()
            await exchange.reply(500, b'{"error":"it has terminated"}')

        one.faults.append(first("/api/chat", 99, fails))
        two.faults.append(first("/api/chat", 99, _never))
        config = config_for(called("a", one), called("b", two), preferred_service="a")
        discovery = ServiceDiscovery(config)
        await discovery.discover_services()
        ends = [asyncio.create_task(Door(discovery).complete()) for _ in range(12)]
        async with asyncio.timeout(20):
            while chats(two) < 3 or sum(end.done() for end in ends) < 9:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        # Three of the twelve may try elsewhere at once; the others are told what there was.
        assert chats(two) == 3
        for end in ends:
            end.cancel()
        told = await asyncio.gather(*ends, return_exceptions=True)
        assert sum(isinstance(error, ServiceError) for error in told) == 9
        await discovery.aclose()


async def _never(_: Exchange) -> None:
    await asyncio.Event().wait()


async def test_each_attempt_says_how_far_it_came(config_for: ConfigFor) -> None:
    async with OllamaEmulator(models=[talker()]) as one, OllamaEmulator(models=[talker()]) as two:
        one.faults.append(first("/api/chat", 9, refuses(500, b'{"error":"it has terminated"}')))
        async with LocalProvider(config_for(called("a", one), called("b", two))) as local:
            await local.list_models()  # kept for a moment, in which one of them ends
            await two.stop()
            with pytest.raises(AllServicesFailed) as caught:
                await local.complete(CHAT)
        by_service = {each.service: each for each in caught.value.tried}
        assert (by_service["a"].phase, by_service["a"].may_have_executed) == ("answering", True)
        assert (by_service["b"].phase, by_service["b"].may_have_executed) == ("connecting", False)


# A server that loads.


async def test_a_server_that_loads_its_model_is_waited_for(
    config_for: ConfigFor, web_server: Serve
) -> None:
    loading = b'{"error":{"message":"Loading model","type":"unavailable_error","code":503}}'
    props = b'{"default_generation_settings":{"n_ctx":512},"build_info":"b7000-abc1234"}'
    ready = {
        "/health": (200, b'{"status":"ok"}'),
        "/props": (200, props),
        "/v1/models": (200, b'{"data":[{"id":"m","meta":null}],"object":"list"}'),
        "/v1/embeddings": (200, b'{"data":[]}'),
    }
    looks = 0

    async def answer(exchange: Exchange) -> None:
        nonlocal looks
        if exchange.path == "/v1/chat/completions":
            if looks < 3:
                looks = 1
                await exchange.reply(503, loading)
                return
            await exchange.reply(
                200,
                b'{"choices":[{"index":0,"finish_reason":"stop","message":'
                b'{"role":"assistant","content":"Ready."}}],"model":"m","id":"c","created":1}',
            )
        elif looks and looks < 3:
            looks += exchange.path == "/v1/models"
            await exchange.reply(503, loading)
        else:
            await exchange.reply(*ready.get(exchange.path, (404, b"")))

    async with web_server(answer, headers={"Server": "llama.cpp"}) as server:
        at = await door(server, config_for=config_for)
        answer_ = await at.complete(CompletionRequest("m", ["Hello"]))
        assert answer_.text == "Ready."
        assert at.waited == [1.0, 1.0, 1.0]
        await at.failover._discovery.aclose()  # noqa: SLF001


async def test_two_who_want_a_cold_model_do_not_load_it_twice(config_for: ConfigFor) -> None:
    model = LMStudioModel(key=MODEL, reply=ANSWER)
    async with LMStudioEmulator([model]) as server:
        release, together, most = asyncio.Event(), 0, 0

        async def counts(exchange: Exchange) -> bool:
            nonlocal together, most
            if exchange.path == "/v1/chat/completions" and not server.loaded:
                together += 1
                most = max(most, together)
                await release.wait()
                together -= 1
            return False

        server.faults.append(counts)
        async with LocalProvider(config_for(server)) as local:
            asked = [asyncio.create_task(local.complete(CHAT)) for _ in range(5)]
            async with asyncio.timeout(20):
                while not together:  # noqa: ASYNC110 - there is no event to wait for
                    await asyncio.sleep(0.001)
            await asyncio.sleep(0.05)  # the others have had time to come as far
            release.set()
            answers = await asyncio.gather(*asked)
        assert [answer.text for answer in answers] == [ANSWER] * 5
        assert most == 1


async def test_no_server_is_blamed_for_a_load_that_is_waited_for_in_vain(
    config_for: ConfigFor,
) -> None:
    impatient = CompletionRequest(MODEL, ["Count."], deadlines={"first_token": 0.05})
    async with (
        LMStudioEmulator([LMStudioModel(key=MODEL, reply=ANSWER)]) as server,
        LocalProvider(config_for(server)) as local,
        local.stream_completion(CHAT) as reading,
    ):
        await anext(reading)  # and is not read on
        for _ in range(3):
            with pytest.raises(ModelNotLoaded, match="for another request in time"):
                await local.complete(impatient)
        with pytest.raises(ServiceTimeout, match="the whole call"):
            await local.complete(CompletionRequest(MODEL, ["Count."], timeout=0.05))
        service = local.services[0]
        assert (service.status, service.consecutive_failures) == (ServiceStatus.WARMING, 0)
        assert (await reading.collect()).text == ANSWER
        assert local.services[0].status is ServiceStatus.AVAILABLE


async def test_if_the_one_who_loads_a_model_fails_another_does(config_for: ConfigFor) -> None:
    model = LMStudioModel(key=MODEL, reply=ANSWER)
    failing = refuses(500, b'{"error":"Model crashed"}')
    async with LMStudioEmulator([model]) as server:
        server.faults.append(first("/v1/chat/completions", 1, failing))
        async with LocalProvider(config_for(server)) as local:
            ends = await asyncio.gather(
                *(local.complete(CHAT) for _ in range(3)), return_exceptions=True
            )
        told = [end.text if isinstance(end, CompletionResponse) else type(end) for end in ends]
        assert sorted(map(str, told)) == sorted([str(ServiceError), ANSWER, ANSWER])


# Keys.


async def test_a_key_that_is_refused_is_told_once_and_then_another_server_answers(
    config_for: ConfigFor,
) -> None:
    model = LMStudioModel(key=MODEL, loaded_context_length=4096, reply="from LM Studio")
    async with OllamaEmulator(models=[talker()]) as locked, LMStudioEmulator([model]) as open_:
        locked.faults.append(first("/api/chat", 9, refuses(401, b'{"error":"unauthorized"}')))
        config = config_for(
            called("locked", locked), called("open", open_), preferred_service="locked"
        )
        async with LocalProvider(config) as local:
            with pytest.raises(AuthenticationError) as caught:
                await local.complete(CHAT)
            assert caught.value.service == "locked"
            info = local.get_service_info("locked")
            assert info is not None
            assert (info.status, info.metrics.failures) == (ServiceStatus.UNAUTHORIZED, 0)
            assert (await local.complete(CHAT)).service == "open"
            with pytest.raises(AuthenticationError):
                await local.complete(CompletionRequest(f"locked::{MODEL}", ["Count."]))


async def test_what_went_out_without_text_is_not_followed_by_another_servers_answer(
    config_for: ConfigFor,
) -> None:
    token = b'{"token":"A","logprob":-1.0,"bytes":[65],"top_logprobs":[]}'
    piece = b'{"id":"a","model":"%s","created":1,"choices":[{"index":0,"delta":{},' % MODEL.encode()
    piece += b'"finish_reason":null,"logprobs":{"content":[%s]}}]}' % token

    async def breaks(exchange: Exchange) -> None:
        await exchange.start(200, content_type="text/event-stream")
        for _ in range(70):  # more than is held back
            await exchange.send(b"data: %s\n\n" % piece)
        await asyncio.sleep(0.05)  # so that what was sent is read before it is lost
        exchange.abort()

    model = LlamaCppModel(id=MODEL, reply=ANSWER)
    async with LlamaCppEmulator([model]) as one, LlamaCppEmulator([model]) as two:
        one.faults.append(first("/v1/chat/completions", 9, breaks))
        config = config_for(called("a", one), called("b", two), preferred_service="a")
        async with LocalProvider(config) as local:
            with pytest.raises(StreamInterrupted):
                await local.complete(CompletionRequest(MODEL, ["Count."], logprobs=True))
        assert "/v1/chat/completions" not in {seen.path for seen in two.requests}


# Limits of a request.


async def test_the_limits_of_the_phases_can_be_set_for_one_request(config_for: ConfigFor) -> None:
    async with OllamaEmulator(models=[talker(capabilities=("completion", "embedding"))]) as server:
        server.faults += [first("/api/chat", 9, _never), first("/api/embed", 9, _never)]
        async with LocalProvider(config_for(server)) as local:
            with pytest.raises(ServiceTimeout) as caught:
                await local.complete(
                    CompletionRequest(MODEL, ["Count."], deadlines={"first_token": 0.05})
                )
            assert (caught.value.phase, caught.value.seconds) == ("first_token", 0.05)
            with pytest.raises(ServiceTimeout) as caught:
                await local.embed(EmbeddingRequest(MODEL, ["a"], timeout=0.05))
            assert caught.value.phase == "total"


@pytest.mark.parametrize(
    "ask",
    [
        lambda local: local.complete(CompletionRequest(MODEL, ["Count."], timeout=1e-9)),
        lambda local: local.embed(EmbeddingRequest(MODEL, ["a"], timeout=1e-9)),
    ],
    ids=["complete", "embed"],
)
async def test_a_limit_that_is_over_at_once_leaves_no_work_behind(
    ask: Callable[[LocalProvider], Awaitable[object]], config_for: ConfigFor
) -> None:
    # A coroutine that nobody awaits fails this test as a warning.
    async with OllamaEmulator() as server, LocalProvider(config_for(server)) as local:
        with pytest.raises(ServiceTimeout, match="the whole call is over"):
            await ask(local)
        assert all(seen.method == "GET" for seen in server.requests)


async def test_to_look_whether_a_model_is_loaded_takes_no_longer_than_the_callers_limit(
    config_for: ConfigFor,
) -> None:
    asked = False

    async def loading(exchange: Exchange) -> bool:
        nonlocal asked
        if exchange.path == "/api/chat":
            asked = True
            await exchange.reply(503, LOADING)
            return True
        return asked and await exchange.hold()

    health = HealthCheckConfig(interval=25, timeout=6, retry_delay=0.1)
    async with OllamaEmulator(models=[talker()]) as server:
        config = config_for(server, discovery={"health_check": health})
        async with LocalProvider(config) as local:
            await local.list_models()
            server.faults.append(loading)
            started = time.monotonic()
            with pytest.raises(ServiceTimeout) as caught:
                await local.complete(CompletionRequest(MODEL, ["Count."], timeout=0.4))
            assert caught.value.phase == "total"
            assert time.monotonic() - started < 3


@pytest.mark.parametrize(
    ("deadlines", "said"),
    [
        ({"first": 1}, "`deadlines` has 'first'; allowed: connect, "),
        ({"idle": 0}, "no seconds for 'idle'"),
        ({"idle": -1}, "no seconds for 'idle'"),
        ({"idle": True}, "no seconds for 'idle'"),
        ({"idle": "5"}, "no seconds for 'idle'"),
        ({"idle": float("nan")}, "no seconds for 'idle'"),
        (5, "`deadlines` must be a mapping"),
    ],
)
def test_wrong_limits_of_a_request_are_refused(deadlines: Any, said: str) -> None:  # noqa: ANN401
    for kind in (CompletionRequest, EmbeddingRequest):
        with pytest.raises(InvalidRequest, match=said):
            kind(MODEL, ["Count."], deadlines=deadlines)


def test_the_names_of_the_limits_are_those_of_the_settings() -> None:
    request = CompletionRequest(
        MODEL, ["Count."], deadlines=dict.fromkeys(Deadlines.__struct_fields__, 1.0)
    )
    assert {*request.deadlines} == {*Deadlines.__struct_fields__}


async def test_the_limit_of_the_settings_is_that_of_one_attempt(config_for: ConfigFor) -> None:
    async with (
        OllamaEmulator(models=[talker()]) as slow,
        OllamaEmulator(models=[talker()]) as quick,
    ):
        slow.faults.append(first("/api/chat", 9, _never))
        limited = OllamaConfig(timeout=0.2)
        config = config_for(called("a", slow), called("b", quick), ollama=limited)
        async with LocalProvider(config) as local:
            await local.list_models()
            answer = await local.complete(CHAT)
            assert answer.service == "b"
            assert "in the time that its settings give it" in answer.attempts[0]


def test_a_limit_that_is_over_is_told() -> None:
    now = 0.0
    until = Until(lambda: now, 5.0)
    assert (until.left(), until.allows(4.9), until.allows(5.0)) == (5.0, True, False)
    now = 5.0
    with pytest.raises(ServiceTimeout, match="the whole call is over"):
        until.left()
    assert Until(lambda: now, None).left() is None
    assert Until(lambda: now, None).allows(1e9)


# Loops and processes.


async def ask(provider: OllamaProvider) -> str:
    return (await provider.complete(CHAT)).text


def test_a_provider_that_is_used_in_another_loop_says_so() -> None:
    async def serve() -> None:
        async with OllamaEmulator(models=[talker()]) as server:
            provider = OllamaProvider(server.url)
            assert await ask(provider) == ANSWER
            said = await asyncio.to_thread(_in_a_loop_of_its_own, provider)
            assert said == ["A provider belongs to the event loop"] * 2
            assert await ask(provider) == ANSWER
            await provider.aclose()

    asyncio.run(serve())


def _in_a_loop_of_its_own(provider: OllamaProvider) -> list[str]:
    """Use and close it there; return what came of that."""
    said: list[str] = []
    for use in (ask, OllamaProvider.aclose):
        try:
            asyncio.run(use(provider))
        except ProviderError as error:
            said.append(error.message.partition(" it was")[0])
    return said


# Back again.


@pytest.mark.slow
async def test_a_server_in_use_is_asked_again_within_three_seconds_of_its_return(
    config_for: ConfigFor,
) -> None:
    async with OllamaEmulator(models=[talker()]) as one, OllamaEmulator(models=[talker()]) as two:
        config = config_for(called("a", one), called("b", two), monitor=True, preferred_service="a")
        async with LocalProvider(config) as local:
            assert (await local.complete(CHAT)).service == "a"
            await one.stop()
            assert (await local.complete(CHAT)).service == "b"
            await one.start()
            came_back = time.monotonic()
            async with asyncio.timeout(20):
                while (await local.complete(CHAT)).service != "a":  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            # Two seconds and a fifth, and what a loaded machine takes.
            assert time.monotonic() - came_back < 3 + 5
