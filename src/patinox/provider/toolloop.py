"""A conversation with tools, to its end: the model asks for calls, gets results, and answers.

It works with anything that is a `ModelProvider`, and knows nothing of any server.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, TypedDict, Unpack

import msgspec
from msgspec.structs import replace

from patinox.provider.base import ModelProvider
from patinox.provider.checks import check_flag, check_integer, check_word, shown
from patinox.provider.errors import InvalidRequest, ProviderError, ToolCallInvalid
from patinox.provider.tools import Tool, find, render_result
from patinox.provider.types import (
    CompletionMessage,
    CompletionRequest,
    CompletionResponse,
    ToolCall,
)

Tools: TypeAlias = Sequence[Tool | Callable[..., Any] | Mapping[str, Any]]

ON_ERROR = ("tell", "raise")


class ToolLoopLimit(ProviderError):
    """The model goes on calling tools, or its calls were cut: the conversation has no end.

    Attributes:
        messages: the conversation so far, without the answer whose calls were not run; a request
            with them goes on from there.
    """

    def __init__(
        self,
        message: str,
        *,
        messages: tuple[CompletionMessage, ...] = (),
        hint: str | None = None,
        service: str | None = None,
        status: int | None = None,
    ) -> None:
        """Keep the conversation beside the usual facts."""
        super().__init__(message, hint=hint, service=service, status=status)
        self.messages = messages


class ToolResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a call.

    Attributes:
        call: the call, as the model wrote it.
        content: what the model is told: the value as text or JSON, or what went wrong.
        value: what the function, or a hook in its place, returned.
        error: why there is no value: a `ToolCallInvalid`, or what the function raised.
    """

    call: ToolCall
    content: str
    value: object = None
    error: Exception | None = None

    def __repr__(self) -> str:
        """Tell how it went, not what was said."""
        how = f"failed: {type(self.error).__name__}" if self.error else "done"
        return f"<ToolResult {self.call.name} {how}: {len(self.content)} characters>"


class ToolStep(msgspec.Struct, frozen=True):
    """One answer of the model, and the results of the calls in it, in their order."""

    response: CompletionResponse
    results: tuple[ToolResult, ...] = ()


class ToolLoopResult(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation with tools that came to its end.

    Attributes:
        response: the last answer, which calls no tool.
        messages: the whole conversation, that answer included.
        steps: every answer, with the results of its calls.
    """

    response: CompletionResponse
    messages: tuple[CompletionMessage, ...]
    steps: tuple[ToolStep, ...]

    @property
    def text(self) -> str:
        """The text of the last answer."""
        return self.response.text

    def __repr__(self) -> str:
        """Tell how long it took, not what was said."""
        calls = sum(len(step.results) for step in self.steps)
        return f"<ToolLoopResult {len(self.steps)} answers, {calls} calls>"


class ToolLoopOptions(TypedDict, total=False):
    """How tools are run; see `run_tools`."""

    max_steps: int
    on_call: Callable[[ToolCall], object] | None
    on_result: Callable[[ToolResult], object] | None
    parallel: bool
    on_error: str


async def run_tools(
    provider: ModelProvider,
    request: CompletionRequest,
    tools: Tools | None = None,
    **options: Unpack[ToolLoopOptions],
) -> ToolLoopResult:
    """Answer with tools: run the calls, tell the model the results, until it calls no more.

    Functions that are not `async` run in threads. So do hooks, so that they may wait for a
    person; they may be `async`, too. `tool_choice` holds for the first answer, then it is `auto`.
    A `timeout` of the request is one for each answer.

    Args:
        provider: who is asked.
        request: what is asked; its tools are used if `tools` are not given.
        tools: functions, `Tool`s or mappings in the form of the OpenAI API.
        **options: `max_steps`, 8: how many answers may call tools before the last one.
            `on_call`: called with each `ToolCall` that fits its tool, one after another; what it
            returns is the result in place of the call, unless it is `None`.
            `on_result`: called with each `ToolResult`, in the order of the calls; what it returns
            is told to the model instead, unless it is `None`.
            `parallel`, true: whether calls of one answer run side by side.
            `on_error`, `tell`: whether calls that do not fit and errors of functions are told to
            the model, or, with `raise`, end the conversation.

    Raises:
        InvalidRequest: there is no tool, a tool has no function and there is no `on_call`, or an
            option is out of its range.
        ToolLoopLimit: the model calls tools once more, or an answer was cut in its calls; these
            are not run, and the error has the conversation up to there.
        ToolCallInvalid: with `on_error="raise"`, a call does not fit.
        ProviderError: an answer failed.
    """
    rules = _Rules(**options)
    request = _with_tools(request, tools, rules)
    steps: list[ToolStep] = []
    while (response := await provider.complete(request)).tool_calls:
        if response.finish_reason == "length" or len(steps) == rules.max_steps:
            raise _limit(response, request, rules)
        results = await _run_all(response.tool_calls, request.tools, rules)
        steps.append(ToolStep(response, results))
        told = (CompletionMessage.tool(result.content, result.call) for result in results)
        request = replace(
            request,
            messages=(*request.messages, _repeatable(response.choices[0].message), *told),
            tool_choice=None,
        )
    messages = (*request.messages, response.choices[0].message)
    return ToolLoopResult(response=response, messages=messages, steps=(*steps, ToolStep(response)))


class _Rules(msgspec.Struct, frozen=True, kw_only=True):
    """The options of `run_tools`, checked."""

    max_steps: int = 8
    on_call: Callable[[ToolCall], object] | None = None
    on_result: Callable[[ToolResult], object] | None = None
    parallel: bool = True
    on_error: str = "tell"

    def __post_init__(self) -> None:
        check_integer("max_steps", self.max_steps, at_least=1)
        check_flag("parallel", self.parallel)
        check_word("on_error", self.on_error, ON_ERROR)
        for field, hook in (("on_call", self.on_call), ("on_result", self.on_result)):
            if hook is not None and not callable(hook):
                msg = f"`{field}` is {shown(hook)}; allowed: a function."
                raise InvalidRequest(msg)


def _repeatable(message: CompletionMessage) -> CompletionMessage:
    """Leave out arguments that are no JSON object: servers refuse them, and the result says why."""
    calls = (
        call if _is_object(call.arguments) else replace(call, arguments="{}")
        for call in message.tool_calls
    )
    return replace(message, tool_calls=tuple(calls))


def _is_object(arguments: str) -> bool:
    try:
        msgspec.json.decode(arguments, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
    return True


class _Ready(msgspec.Struct, frozen=True):
    """A call that fits."""

    call: ToolCall
    function: Callable[..., object]
    arguments: dict[str, Any]


def _with_tools(
    request: CompletionRequest, tools: Tools | None, rules: _Rules
) -> CompletionRequest:
    if tools is not None:
        request = replace(request, tools=tools)
    if not request.tools:
        raise InvalidRequest("There are no tools to run.", hint="Give some: tools=[function].")
    for tool in request.tools:
        if tool.function is None and rules.on_call is None:
            msg = f"The tool {tool.name!r} has no function to call."
            raise InvalidRequest(msg, hint="Give it one, or give its results in `on_call`.")
    return request


def _limit(
    response: CompletionResponse, request: CompletionRequest, rules: _Rules
) -> ToolLoopLimit:
    if response.finish_reason == "length":
        msg = "The answer was cut in its tool calls; none of them was run."
        hint = "Raise `max_tokens`, or the context of the model."
    else:
        msg = f"The model still calls tools after {rules.max_steps} answers with calls."
        hint = "Raise `max_steps`, or go on from `.messages`."
    return ToolLoopLimit(msg, messages=request.messages, hint=hint, service=response.service)


async def _run_all(
    calls: Sequence[ToolCall], tools: Sequence[Tool], rules: _Rules
) -> tuple[ToolResult, ...]:
    offered = [await _offered(call, tools, rules) for call in calls]
    results = await (_side_by_side if rules.parallel else _one_by_one)(offered, rules)
    return tuple([await _shown(result, rules) for result in results])


async def _offered(call: ToolCall, tools: Sequence[Tool], rules: _Rules) -> _Ready | ToolResult:
    """Make a call ready, unless it does not fit or the hook has a result in its place."""
    try:
        tool = find(tools, call.name)
        arguments = tool.decode(call.arguments)
    except ToolCallInvalid as error:
        return _failed(call, error, rules)
    if rules.on_call is not None and (value := await _called(rules.on_call, call)) is not None:
        return ToolResult(call=call, content=render_result(value), value=value)
    if tool.function is None:
        msg = f"The tool {tool.name!r} has no function, and `on_call` gave no result for it."
        raise InvalidRequest(msg)
    return _Ready(call, tool.function, arguments)


async def _side_by_side(offered: Sequence[_Ready | ToolResult], rules: _Rules) -> list[ToolResult]:
    try:
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(_run(one, rules)) for one in offered]
    except BaseExceptionGroup as failed:  # of functions; the first one to fail ended the others
        raise failed.exceptions[0] from None
    return [task.result() for task in running]


async def _one_by_one(offered: Sequence[_Ready | ToolResult], rules: _Rules) -> list[ToolResult]:
    return [await _run(one, rules) for one in offered]


async def _run(ready: _Ready | ToolResult, rules: _Rules) -> ToolResult:
    if isinstance(ready, ToolResult):
        return ready
    try:
        value = await _called(ready.function, **ready.arguments)
        return ToolResult(call=ready.call, content=render_result(value), value=value)
    except Exception as error:  # noqa: BLE001  whatever a function raises is for the model
        return _failed(ready.call, error, rules)


def _failed(call: ToolCall, error: Exception, rules: _Rules) -> ToolResult:
    if rules.on_error == "raise":
        raise error
    return ToolResult(call=call, content=render_result(f"Error: {_what(error)}"), error=error)


def _what(error: Exception) -> str:
    if isinstance(error, ToolCallInvalid):
        return str(error)
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001  whatever an error of the caller's does when it is to speak
        return type(error).__name__


async def _shown(result: ToolResult, rules: _Rules) -> ToolResult:
    """Let the hook see a result, and perhaps put another in its place."""
    if rules.on_result is None or (value := await _called(rules.on_result, result)) is None:
        return result
    return ToolResult(call=result.call, content=render_result(value), value=value)


async def _called(function: Callable[..., object], *given: object, **named: object) -> object:
    """Call what may be `async`; what is not may wait, so that it is called in a thread."""
    try:
        if inspect.iscoroutinefunction(function):
            return await function(*given, **named)
        value = await asyncio.to_thread(_called_here, function, *given, **named)
        return await value if inspect.isawaitable(value) else value
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        # Nobody gave up the conversation: it comes out of the function.
        raise RuntimeError("CancelledError: what it waited for was given up") from error


def _called_here(function: Callable[..., object], *given: object, **named: object) -> object:
    """Call it; a `StopIteration` cannot come out of a thread, and would be waited for for ever."""
    try:
        return function(*given, **named)
    except StopIteration as error:
        raise RuntimeError("StopIteration: there was no next item") from error
