"""The parent's side of the engine inside: one child process per model that is loaded.

The child (`patinox.embedded.child`) is a llama.cpp server on 127.0.0.1 with a key of its own, so
whatever speaks to llama.cpp speaks to it. Whatever goes wrong with it is an `EngineError`.
"""

import asyncio
import os
import re
import secrets
import signal
import sys
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self, TypeAlias, cast

import msgspec

from patinox.embedded.finder import LocalModelFile
from patinox.embedded.gguf import GGUFInfo

__all__ = ["Engine", "EngineError", "EngineFailure", "engine_available"]

EngineFailure: TypeAlias = Literal[
    "not_installed", "bad_file", "crashed", "timeout", "busy", "closed"
]

_PACKAGE: Final = "xllamacpp"
_CHILD: Final = Path(__file__).with_name("child.py")
_KEY_VARIABLE: Final = "PATINOX_ENGINE_KEY"
_CONTEXT_LENGTH: Final = 4096  # tokens, unless told: the context of a large model takes gigabytes
_BATCH: Final = 512
_LOAD_SECONDS: Final = 30.0
_LOAD_BYTES_PER_SECOND: Final = 25e6  # a slow disk
_STOP_SECONDS: Final = 5.0
_LOG_LINES: Final = 200
_STDERR: Final = 2

# `0.00.006.840 E llama_model_load: error loading model: ...`, or an assertion that failed.
_ENGINE_ERROR: Final = re.compile(r"^[\d.]+ E (?P<cause>.+)|(?P<assertion>GGML_(?:ASSERT|ABORT).*)")
_ENGINE_LINE: Final = re.compile(r"[\d.]+ [A-Z] ")

_INSTALL: Final = 'run `pip install "patinox[embedded]"`'
_INSTALL_LIBGOMP: Final = "run `apt install libgomp1`, or what brings libgomp on your system"
_OTHER_FILE: Final = "download it again or choose another model"
_ADVICE: Final[Mapping[str, str]] = {
    "SIGABRT": f"the file is damaged or not supported: {_OTHER_FILE}",
    "SIGBUS": f"the file was changed while it was in use: {_OTHER_FILE}",
    "SIGILL": "this processor lacks instructions it needs (AVX2): use a server such as Ollama",
    "SIGKILL": "perhaps memory ran out: choose a smaller model or a shorter context",
}


class EngineError(Exception):
    """The engine inside could not do its work. The message says what happened and what to do."""

    def __init__(
        self, message: str, *, kind: EngineFailure, reason: str, log: Iterable[str] = ()
    ) -> None:
        super().__init__(message)
        self.kind: EngineFailure = kind
        self.reason = reason
        """The cause alone, in the engine's own words."""
        self.log = tuple(log)
        """The last lines of the engine's log."""


def engine_available() -> bool:
    """Whether the extra `embedded` is installed. Nothing is imported to find out."""
    return find_spec(_PACKAGE) is not None


class Engine:
    """A model that is loaded and answers at `url`. Made by `Engine.start`."""

    def __init__(self, model: LocalModelFile, child: "_Child", url: str, api_key: str) -> None:
        self.model = model
        self.url = url
        """Where it answers, `http://127.0.0.1:<port>`."""
        self.api_key = api_key
        """What each request must show, as a bearer token."""
        self._child = child

    @classmethod
    async def start(
        cls,
        model: LocalModelFile,
        *,
        context_length: int | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - of the child's work, not of the call
    ) -> Self:
        """Start a child, let it load `model`, and return when it answers.

        `context_length` is in tokens: at most what the model was trained for, and 4096 if it is
        `None`. `timeout` is in seconds; `None` allows for the size of the file. Raises
        `EngineError`; a start that fails or is cancelled leaves no process behind.
        """
        if model.info is None:
            raise _bad_file(model, model.error or "nothing is known about it")
        if timeout is None:
            timeout = _LOAD_SECONDS + model.info.size_bytes / _LOAD_BYTES_PER_SECOND
        api_key = secrets.token_hex(16)
        context = min(context_length or _CONTEXT_LENGTH, model.info.context_length or sys.maxsize)
        child = await _spawn(_arguments(model, model.info, context, timeout), api_key)
        try:
            async with asyncio.timeout(timeout):
                await child.answered.wait()
        except TimeoutError:
            await child.kill()
            raise _too_slow(model, child, timeout) from None
        except asyncio.CancelledError:
            await child.kill()
            raise
        answer = child.answer()
        if not answer.ready:
            await child.stop()
            raise _refused(model, child, answer)
        return cls(model, child, answer.ready, api_key)

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._child.transport.get_pid()

    @property
    def alive(self) -> bool:
        """Whether the child runs."""
        return self._child.exit_code is None

    @property
    def failure(self) -> EngineError | None:
        """Why the child ended of itself; `None` if it runs or was stopped."""
        return _crashed(self.model, self._child) if self._child.exit_code else None

    async def wait_closed(self) -> None:
        """Return when the child has ended, for whatever reason."""
        await self._child.ended.wait()

    async def stop(self) -> None:
        """End the child and wait for its end. Stopping twice does nothing."""
        await self._child.stop()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    def __repr__(self) -> str:
        state = "alive" if self.alive else "ended"
        return f"<Engine {self.model.id!r} at {self.url}, pid {self.pid}, {state}>"


class _Answer(msgspec.Struct):
    ready: str = ""
    error: str = ""
    kind: str = ""


class _Child(asyncio.SubprocessProtocol):
    """What is heard from a child process: its answer, its log, its end."""

    transport: asyncio.SubprocessTransport

    def __init__(self) -> None:
        self.answered = asyncio.Event()
        """Set when the answer is complete, or will not come any more."""
        self.ended = asyncio.Event()
        """Set when the process has ended and all that it said is read."""
        self.log: deque[str] = deque(maxlen=_LOG_LINES)
        self._stdout = b""
        self._stderr = b""

    @property
    def exit_code(self) -> int | None:
        return self.transport.get_returncode()

    def answer(self) -> _Answer:
        """What it said on stdout; whatever is no answer counts as an error."""
        try:
            return msgspec.json.decode(self._stdout, type=_Answer)
        except msgspec.DecodeError:
            return _Answer(error=self._stdout.decode("utf-8", "replace").strip())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.SubprocessTransport", transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == _STDERR:
            *lines, self._stderr = (self._stderr + data).split(b"\n")
            self.log.extend(line.decode("utf-8", "replace") for line in lines)
        else:
            self._stdout += data
            if b"\n" in data:
                self.answered.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - of the protocol
        self.transport.close()
        self.answered.set()
        self.ended.set()

    async def stop(self) -> None:
        """Close the child's stdin, which ends it, and kill it if that does not."""
        stdin = cast("asyncio.WriteTransport", self.transport.get_pipe_transport(0))
        stdin.close()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await self.ended.wait()
        except TimeoutError:
            pass  # it does not listen
        finally:
            await self.kill()

    async def kill(self) -> None:
        """End the child at once, if it has not ended, and wait until it has."""
        with suppress(ProcessLookupError):
            self.transport.kill()
        await self.ended.wait()


async def _spawn(arguments: Sequence[str], api_key: str) -> _Child:
    if getattr(sys, "frozen", False):  # `sys.executable` is the application, not Python
        raise _not_installed("a packaged application has no Python to run it", "run it unpackaged")
    environment = {**os.environ, _KEY_VARIABLE: api_key}
    # -P: the child's own folder is not a place to import from.
    command = (sys.executable, "-P", str(_CHILD), *arguments)
    try:
        _, child = await asyncio.get_running_loop().subprocess_exec(
            _Child, *command, env=environment, start_new_session=True
        )
    except OSError as error:
        raise _not_installed(str(error), "check that Python can start programs") from error
    return child


def _arguments(
    model: LocalModelFile, info: GGUFInfo, context_length: int, timeout: float
) -> list[str]:
    options = {
        "model": model.path,
        "alias": model.id,
        "context": context_length,
        # A text to embed must fit one batch; for a chat model that would cost memory.
        "batch": context_length if info.is_embedding else _BATCH,
        # The child's own limit is for the case that we are gone.
        "load-seconds": timeout + _STOP_SECONDS,
    }
    arguments = [f"--{name}={value}" for name, value in options.items()]
    if model.projector is not None:
        arguments.append(f"--projector={model.projector}")
    if info.pooling_type in {None, "none"}:
        arguments.append("--mean-pooling")
    return arguments


def _refused(model: LocalModelFile, child: _Child, answer: _Answer) -> EngineError:
    if answer.kind == "import":
        missing_library = "libgomp" in answer.error
        return _not_installed(answer.error, _INSTALL_LIBGOMP if missing_library else _INSTALL)
    if answer.kind == "load":
        # The first error is the cause, those after it are effects.
        return _bad_file(model, _first_error(child.log) or answer.error, child.log)
    return _crashed(model, child, answer.error)


def _not_installed(reason: str, advice: str) -> EngineError:
    message = f"the engine inside cannot start: {reason}; {advice}"
    return EngineError(message, kind="not_installed", reason=reason)


def _bad_file(model: LocalModelFile, reason: str, log: Iterable[str] = ()) -> EngineError:
    message = f"{model.id!r} cannot be loaded: {reason}; {_OTHER_FILE} ({model.path})"
    return EngineError(message, kind="bad_file", reason=reason, log=log)


def _crashed(model: LocalModelFile, child: _Child, said: str = "") -> EngineError:
    how = _ending(child.exit_code or 0)
    # Its log may begin with errors of requests, answered long ago.
    error = _first_error(reversed(child.log)) or _last_words(child.log)
    reason = error or said or "its log gives no reason"
    advice = _ADVICE.get(how, "look at the log of the engine")
    message = f"the engine for {model.id!r} ended with {how}: {reason}; {advice}"
    return EngineError(message, kind="crashed", reason=reason, log=child.log)


def _too_slow(model: LocalModelFile, child: _Child, timeout: float) -> EngineError:
    reason = f"not ready in {timeout:g} s"
    message = f"{model.id!r} was {reason}; allow more time or choose a smaller model"
    return EngineError(message, kind="timeout", reason=reason, log=child.log)


def _ending(exit_code: int) -> str:
    with suppress(ValueError):
        return signal.Signals(-exit_code).name
    return f"exit code {exit_code}"


def _first_error(log: Iterable[str]) -> str:
    for line in log:
        if found := _ENGINE_ERROR.search(line):
            return found["cause"] or found["assertion"]
    return ""


def _last_words(log: Sequence[str]) -> str:
    """The last line, if it is not the engine's but Python's: why the child failed."""
    return "" if not log or _ENGINE_LINE.match(log[-1]) else log[-1]
