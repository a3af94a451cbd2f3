"""`patinox chat` and `patinox complete`: one prompt, one answer; or a conversation."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from patinox.cli.interrupt import run_stoppable
from patinox.cli.output import DONE, Output, exit_code
from patinox.cli.prompts import STDIN, join_prompt, read_images, read_piped, read_schema
from patinox.cli.render import speech
from patinox.cli.repl import Conversation
from patinox.cli.screen import Screen, summary, waiting_for
from patinox.cli.session import Chosen, Setup, announce, choose_model, open_local, place_of
from patinox.provider.errors import InvalidRequest, ProviderError, StructuredOutputError
from patinox.provider.local.coordinator import LocalProvider
from patinox.provider.local.errors import StreamInterrupted
from patinox.provider.local.types import ServiceType
from patinox.provider.schema import OutputSchema
from patinox.provider.types import (
    CompletionMessage,
    CompletionRequest,
    CompletionResponse,
    ModelInfo,
    ResponseStarted,
)

_SWITCHES: Mapping[str | None, bool] = {"on": True, "off": False}


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What can be said of a request besides its words.

    Attributes:
        reasoning: `on`, `off` or how much the model thinks; `None` leaves it to the model.
        images: pictures to show to the model with the first prompt.
        schema: a file with the JSON schema of the answer; `-` for standard input.
        think: whether to show what the model thinks; `None`: on a terminal only.
    """

    model: str | None = None
    system: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    num_ctx: int | None = None
    timeout: float | None = None
    seed: int | None = None
    reasoning: str | None = None
    images: tuple[Path, ...] = ()
    schema: str | None = None
    think: bool | None = None


class Talk:
    """Asks one model after another, in one way."""

    def __init__(
        self,
        local: LocalProvider,
        out: Output,
        options: Options,
        schema: OutputSchema[Any] | None = None,
    ) -> None:
        """Keep with whom, where to write, how to ask, and what the answer must look like."""
        self.local = local
        self.out = out
        self.schema = schema
        self._options = options
        self._think = out.err.is_terminal if options.think is None else options.think

    def request(
        self, chosen: Chosen, messages: Sequence[CompletionMessage], system: str | None
    ) -> CompletionRequest:
        """Make the request; raises `InvalidRequest`."""
        start = (CompletionMessage.system(system),) if system else ()
        return CompletionRequest(
            chosen.wanted,
            (*start, *messages),
            temperature=self._options.temperature,
            max_tokens=self._options.max_tokens,
            timeout=self._options.timeout,
            seed=self._options.seed,
            think=_SWITCHES.get(self._options.reasoning, self._options.reasoning),
            schema=self.schema,
            options=self._own_words(chosen.info),
        )

    def screen(self) -> Screen:
        """Make what shows one answer."""
        return Screen(self.out, think=self._think)

    async def stream(
        self, request: CompletionRequest, info: ModelInfo, screen: Screen
    ) -> CompletionResponse:
        """Show an answer as it comes; raises `ProviderError`."""
        try:
            with screen.waiting.during(waiting_for(info)):
                async with self.local.stream_completion(request) as stream:
                    async for event in stream:
                        if isinstance(event, ResponseStarted):
                            self._tell_attempts(event.attempts)
                        screen.show(event)
            response = stream.response
        finally:
            screen.end()
        self._tell_warnings(response)
        return response

    async def whole(self, request: CompletionRequest, info: ModelInfo) -> CompletionResponse:
        """Wait for an answer in one piece; raises `ProviderError`."""
        with self.screen().waiting.during(waiting_for(info)):
            response = await self.local.complete(request)
        self._tell_attempts(response.attempts)
        self._tell_warnings(response)
        return response

    def tell_summary(self, response: CompletionResponse, info: ModelInfo) -> None:
        """Say at the end who answered and how fast."""
        self.out.remark(summary(response, info.id, place_of(self.local, response.service)))

    def _tell_attempts(self, attempts: Sequence[str]) -> None:
        for attempt in attempts:
            self.out.remark(f"Not answered by {attempt}")

    def _tell_warnings(self, response: CompletionResponse) -> None:
        for warning in response.warnings:
            self.out.remark(warning)

    def _own_words(self, info: ModelInfo) -> dict[str, Any]:
        """Return the options that one kind of service alone knows."""
        if self._options.num_ctx is None:
            return {}
        service = self.local.get_service_info(info.service)
        if service is None or service.service_type == ServiceType.OLLAMA:
            return {"num_ctx": self._options.num_ctx}
        place = place_of(self.local, info.service)
        self.out.remark(f"--num-ctx is ignored: it is for Ollama, and {place} answers.")
        return {}


def chat(setup: Setup, out: Output, options: Options, words: Sequence[str]) -> int:
    """Answer one prompt as it comes, or hold a conversation where there is none."""
    return _talk(setup, out, options, words, whole=False)


def complete(setup: Setup, out: Output, options: Options, words: Sequence[str]) -> int:
    """Answer one prompt in one piece."""
    return _talk(setup, out, options, words, whole=True)


def _talk(setup: Setup, out: Output, options: Options, words: Sequence[str], *, whole: bool) -> int:
    stack = AsyncExitStack()
    # A conversation waits for the person between its answers, so the loop is entered for each.
    with asyncio.Runner() as runner:
        try:
            images, schema = read_images(options.images), None
            if options.schema is not None:
                schema = read_schema(options.schema, sys.stdin)
            local = run_stoppable(runner, stack.enter_async_context(open_local(setup, out)))
            choice = choose_model(local, setup, options.model, words, vision=bool(images))
            chosen = run_stoppable(runner, choice)
            piped = _read_stdin(options, out, wait=not chosen.words)
            prompt = join_prompt(chosen.words, piped)
            if not prompt and (whole or out.as_json or schema or piped is not None):
                command = "complete" if whole else "chat"
                hint = f'Write one: patinox {command} "Hello", or pipe it in.'
                raise InvalidRequest("There is no prompt.", hint=hint)
            announce(out, local, chosen)
            talk = Talk(local, out, options, schema)
            if prompt:
                question = CompletionMessage.user([prompt, *images])
                request = talk.request(chosen, [question], options.system)
                return run_stoppable(runner, _answer(talk, chosen, request, whole=whole))
            return Conversation(runner, talk, setup, chosen, options.system, images).hold()
        except ProviderError as error:
            out.failure(error)
            return exit_code(error)
        finally:
            runner.run(stack.aclose())


def _read_stdin(options: Options, out: Output, *, wait: bool) -> str | None:
    """Read what is piped in for the prompt; nothing where that was the schema."""
    return "" if options.schema == STDIN else read_piped(sys.stdin, out, wait=wait)


async def _answer(talk: Talk, chosen: Chosen, request: CompletionRequest, *, whole: bool) -> int:
    info, out = chosen.info, talk.out
    if not whole and not out.as_json and talk.schema is None:
        talk.tell_summary(await talk.stream(request, info, talk.screen()), info)
        return DONE
    try:
        response = await talk.whole(request, info)
    except StreamInterrupted as error:
        if error.text and not out.as_json:  # half an answer is not the output
            out.remark("It had answered:")
            out.err.line(speech(error.text))
        raise
    except StructuredOutputError as error:
        if not out.as_json:
            out.remark("It answered:")
            out.err.line(speech(error.raw))
        raise
    if chosen.reason is not None:  # the choice was ours, and the request named what was chosen
        response = replace(response, reason=chosen.reason)
    if out.as_json:
        out.document({**msgspec.to_builtins(response), "text": response.text})
    elif talk.schema is not None:
        out.document(response.parsed)
    else:
        out.out.write(speech(response.text).rstrip("\n") + "\n")
    return DONE
