"""What is asked: services, what they are asked, and the faces through which they are."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import queue
import sys
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from patinox.cli import main
from patinox.provider.errors import ProviderError
from patinox.provider.local.config import (
    Deadlines,
    DiscoveryConfig,
    EndpointConfig,
    HealthCheckConfig,
    LMStudioConfig,
    LocalProviderConfig,
    OllamaConfig,
    ServiceConfig,
)
from patinox.provider.local.coordinator import LocalProvider
from patinox.provider.local.errors import StreamInterrupted
from patinox.provider.local.sync import SyncLocalProvider
from patinox.provider.secret import Secret
from patinox.provider.types import CompletionRequest, EmbeddingRequest
from patinox.testing import (
    EmulatedServer,
    LMStudioEmulator,
    LMStudioModel,
    OllamaEmulator,
    OllamaModel,
)
from patinox.testing.faults import KINDS
from patinox.testing.relay import LlamaCppRelay

KEY = "key-canary-8d1f0a"
PROMPT = "prompt-canary-51c9e2: what is the colour of the sky on a clear day?"
ANSWER = "Blue, mostly."
CHATTER, EMBEDDER = "llama3.2:3b", "nomic-embed-text:latest"
# Seconds that a wait may take where nothing should have to wait.
LONG = 10.0
HEALTH = 4.9

Serve = Callable[[], EmulatedServer]
Ask = Callable[[], Awaitable[object]]


class Face(Protocol):
    """A way to use the library."""

    @property
    def name(self) -> str:
        """What it is called in the table."""
        ...

    @property
    def at_once(self) -> int:
        """How many calls it bears at once."""
        ...

    @property
    def patient(self) -> int:
        """How many calls it bears at once that only wait."""
        ...

    @property
    def patience(self) -> float:
        """Seconds that it takes for itself."""
        ...

    def open(self, asked: Asked) -> AbstractAsyncContextManager[Ask]:
        """Get ready to make the call, again and again."""
        ...


@dataclass(frozen=True)
class Subject:
    """A service: how to make it, and what it is asked."""

    name: str
    kind: str
    serve: Serve
    chatter: str
    embedder: str
    total: float | None = None
    words: int = 8

    def __str__(self) -> str:
        return self.name

    @property
    def chat(self) -> CompletionRequest:
        return CompletionRequest(
            self.chatter,
            [PROMPT],
            temperature=0.0,
            seed=1,
            max_tokens=self.words,
            timeout=self.total,
        )

    @property
    def embed(self) -> EmbeddingRequest:
        return EmbeddingRequest(self.embedder, [PROMPT], timeout=self.total)


def ollama(version: str) -> Subject:
    models = (
        OllamaModel(name=CHATTER, reply=ANSWER),
        OllamaModel(name=EMBEDDER, capabilities=("embedding",), embedding_length=4),
    )
    return Subject(
        f"ollama {version}",
        "ollama",
        lambda: OllamaEmulator(models=models, version=f"{version}.0"),
        CHATTER,
        EMBEDDER,
    )


def lmstudio(generation: Any) -> Subject:  # noqa: ANN401
    models = (
        LMStudioModel(key="qwen/qwen3-4b", reply=ANSWER, loaded_context_length=4096),
        LMStudioModel(key="text-embedding-nomic", kind="embedding", dimensions=4),
    )
    return Subject(
        f"lmstudio {generation}",
        "lmstudio",
        lambda: LMStudioEmulator(models, generation=generation, auto_evict=False),
        "qwen/qwen3-4b",
        "text-embedding-nomic",
    )


def llamacpp(url: str, key: str) -> Subject:
    return Subject(
        "llamacpp",
        "llamacpp",
        lambda: LlamaCppRelay(url, api_key=key),
        "patinox-tiny",
        "patinox-tiny",
    )


@dataclass(frozen=True)
class Asked:
    """A call to a server, with every limit at so many seconds."""

    subject: Subject
    server: EmulatedServer
    call: str
    seconds: float
    discovery: float = LONG
    address: str = ""

    @property
    def url(self) -> str:
        return self.address or self.server.url

    @property
    def config(self) -> LocalProviderConfig:
        limits = ("connect", "first_token", "idle", "listing", "embed")
        fields: dict[str, Any] = {
            "deadlines": Deadlines(**dict.fromkeys(limits, self.seconds)),
            "streaming": self.call != "chat",
            "cache_ttl": 0.0 if self.call == "list" else 60.0,
            "api_key": Secret(KEY),
        }
        kind = self.subject.kind
        made: dict[str, type[ServiceConfig]] = {"ollama": OllamaConfig, "lmstudio": LMStudioConfig}
        service: dict[str, Any] = {kind: made.get(kind, ServiceConfig)(**fields)}
        return LocalProviderConfig(
            discovery_config=DiscoveryConfig(
                enabled_services=KINDS,
                discovery_timeout=self.discovery,
                health_check=HealthCheckConfig(timeout=HEALTH),
            ),
            endpoints=(EndpointConfig.parse(self.url, service=kind),),
            auto_discover=False,
            monitor=False,
            **service,
        )

    def file(self, folder: Path) -> Path:
        """The same settings as a configuration file."""
        kind = self.subject.kind
        limits = ("connect", "first_token", "idle", "listing", "embed")
        lines = [
            "auto_discover = false",
            "[discovery]",
            f"enabled_services = {list(KINDS)}",
            f"discovery_timeout = {self.discovery}",
            f"[discovery.health_check]\ntimeout = {HEALTH}",
            f"[{kind}]",
            f'endpoint = "{self.url}"',
            f'api_key = "{KEY}"',
            f"streaming = {str(self.call != 'chat').lower()}",
            f"[{kind}.deadlines]",
            *(f"{name} = {self.seconds}" for name in limits),
        ]
        path = folder / f"{self.server.port}-{self.call}.toml"
        path.write_text("\n".join(lines))
        path.chmod(0o600)
        return path


class Said(Exception):
    """An error as a face tells it: its class, its words, and how much of an answer it carries."""

    def __init__(self, kind: str, words: str, text: str | None) -> None:
        super().__init__(kind, words)
        self.kind = kind
        self.words = words
        self.text = text


class AsyncFace:
    """`LocalProvider`."""

    name = "async"
    at_once = 3
    patient = 8
    patience = 0.0

    @contextlib.asynccontextmanager
    async def open(self, asked: Asked) -> AsyncGenerator[Ask]:
        async with LocalProvider(asked.config) as local:

            async def ask() -> object:
                try:
                    return await self._ask(local, asked)
                except ProviderError as error:
                    raise said(error) from error

            yield ask

    async def _ask(self, local: LocalProvider, asked: Asked) -> object:
        subject = asked.subject
        match asked.call:
            case "probe":
                async with LocalProvider(asked.config) as fresh:
                    return [info.service_type for info in fresh.services]
            case "list":
                return [info.id for info in await local.list_models()]
            case "chat":
                return (await local.complete(subject.chat)).text
            case "stream":
                async with local.stream_completion(subject.chat) as stream:
                    return "".join([event.text async for event in stream])
            case _:
                return (await local.embed(subject.embed)).embeddings.tolist()


class BlockingFace:
    """`SyncLocalProvider`, in a thread."""

    name = "blocking"
    at_once = 3
    patient = 8
    patience = 0.5  # its own thread may be late, unseen by the loop of the test

    @contextlib.asynccontextmanager
    async def open(self, asked: Asked) -> AsyncGenerator[Ask]:
        local = SyncLocalProvider(asked.config)
        await asyncio.to_thread(local.__enter__)

        def blocking() -> object:
            try:
                return self._ask(local, asked)
            except ProviderError as error:
                raise said(error) from error

        try:
            yield lambda: asyncio.to_thread(blocking)
        finally:
            await asyncio.to_thread(local.__exit__, None, None, None)

    def _ask(self, local: SyncLocalProvider, asked: Asked) -> object:
        subject = asked.subject
        match asked.call:
            case "probe":
                with SyncLocalProvider(asked.config) as fresh:
                    return [info.service_type for info in fresh.services]
            case "list":
                return [info.id for info in local.list_models()]
            case "chat":
                return local.complete(subject.chat).text
            case "stream":
                with local.stream_completion(subject.chat) as stream:
                    return "".join([event.text for event in stream])
            case _:
                return local.embed(subject.embed).embeddings.tolist()


class MainThread:
    """Works off in the main thread, where signals are, what a loop in another thread asks for."""

    def __init__(self) -> None:
        self._tasks = queue.SimpleQueue[Callable[[], None] | None]()

    async def call(self, work: Callable[[], object]) -> object:
        """Have a function called, and wait for what it returns."""
        done = Future[object]()

        def task() -> None:
            try:
                done.set_result(work())
            except Exception as error:  # noqa: BLE001 - raised again where it is waited for
                done.set_exception(error)

        self._tasks.put(task)
        return await asyncio.wrap_future(done)

    def serve(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` in a loop in another thread, and meanwhile what it asks for in this one."""
        ended = Future[None]()

        def run() -> None:
            try:
                ended.set_result(asyncio.run(work))
            except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
                ended.set_exception(error)
            self._tasks.put(None)

        thread = threading.Thread(target=run, name="table", daemon=True)
        thread.start()
        while (task := self._tasks.get()) is not None:
            task()
        thread.join()
        ended.result()


class CommandLine:
    """`patinox ... --json`, each call a run of its own in this process."""

    name = "command line"
    at_once = patient = 1  # it has the process's own streams
    patience = 1.0  # it starts anew each time

    def __init__(self, folder: Path, main_thread: MainThread) -> None:
        self._folder = folder
        self._main_thread = main_thread

    @contextlib.asynccontextmanager
    async def open(self, asked: Asked) -> AsyncGenerator[Ask]:
        file = asked.file(self._folder)
        yield lambda: self._main_thread.call(lambda: self._run(asked, file))

    def _run(self, asked: Asked, file: Path) -> object:
        subject = asked.subject
        total = [] if subject.total is None else ["--timeout", str(subject.total)]
        limits = ["--model", subject.chatter, "--temperature", "0", "--seed", "1", *total]
        words = {
            "probe": ["status"],
            "list": ["models"],
            "chat": ["complete", *limits, "--max-tokens", "8", PROMPT],
            "stream": ["chat", *limits, "--max-tokens", "8", PROMPT],
            "embed": ["embed", "--model", subject.embedder, *total, PROMPT],
        }[asked.call]
        code, out, err = run([words[0], "--json", "--config", str(file), *words[1:]])
        document = json.loads(out)
        if isinstance(document, dict) and "error" in document:
            error = document["error"]
            if not code:
                raise AssertionError("an error, and the exit code says success")
            raise Said(error["type"], out + err, error.get("text"))
        if code and asked.call != "probe":
            raise AssertionError(f"exit code {code} without an error: {out!r:.200}")
        return self._told(asked.call, document)

    def _told(self, call: str, document: Any) -> object:  # noqa: ANN401
        match call:
            case "probe":
                return [info["service_type"] for info in document["services"]]
            case "list":
                return [info["id"] for info in document]
            case "chat" | "stream":
                return document["choices"][0]["message"]["content"]
            case _:
                return document["embeddings"]


def run(arguments: list[str]) -> tuple[int, str, str]:
    """Run the command line in this process, with its streams in our hands."""
    out, err, kept = io.StringIO(), io.StringIO(), (sys.stdin, sys.stdout, sys.stderr)
    sys.stdin, sys.stdout, sys.stderr = io.StringIO(), out, err
    try:
        code = main(arguments)
    finally:
        sys.stdin, sys.stdout, sys.stderr = kept
    return code, out.getvalue(), err.getvalue()


def said(error: ProviderError) -> Said:
    """Collect all that an error says, its causes too."""
    words, link = list[str](), error
    while isinstance(link, ProviderError):
        words += [str(link), repr(link), str(link.hint)]
        link = link.__cause__  # type: ignore[assignment]
    text = error.text if isinstance(error, StreamInterrupted) else None
    return Said(type(error).__name__, "\n".join(words), text)
