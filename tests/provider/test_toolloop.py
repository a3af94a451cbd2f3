"""The tool loop: what is run, what the model is told, and where it ends."""

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, Unpack

import pytest
from msgspec.structs import replace

from patinox.provider.base import CompletionStream, ModelProvider
from patinox.provider.errors import InvalidRequest, RateLimited, ToolCallInvalid
from patinox.provider.toolloop import (
    ToolLoopLimit,
    ToolLoopOptions,
    ToolLoopResult,
    ToolResult,
    run_tools,
)
from patinox.provider.tools import Tool
from patinox.provider.types import (
    CompletionChoice,
    CompletionMessage,
    CompletionRequest,
    CompletionResponse,
    EmbeddingRequest,
    EmbeddingResponse,
    ModelCapabilities,
    ModelId,
    ModelInfo,
    ToolCall,
)

QUESTION = CompletionRequest("m", ["What is it?"])
SECRET = "hunter2"


class Scripted:
    """A model whose answers are known before: texts, or calls by name with their arguments."""

    name = "scripted"

    def __init__(self, *answers: str | Sequence[tuple[str, str]] | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[CompletionRequest] = []
        self.finish_reason = "stop"

    async def complete(self, request: CompletionRequest) -> CompletionResponse:
        self.asked.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        text, calls = (answer, []) if isinstance(answer, str) else ("", answer)
        message = CompletionMessage(
            role="assistant",
            content=text,
            tool_calls=tuple(
                ToolCall(f"call_{len(self.asked)}_{number}", *call)
                for number, call in enumerate(calls)
            ),
        )
        choice = CompletionChoice(message=message, finish_reason=self.finish_reason)
        return CompletionResponse(model="m", service="s", choices=(choice,))

    async def list_models(self) -> list[ModelInfo]:
        raise NotImplementedError

    def stream_completion(self, request: CompletionRequest) -> CompletionStream:
        raise NotImplementedError

    async def embed(self, request: EmbeddingRequest) -> EmbeddingResponse:
        raise NotImplementedError

    async def supports_model(self, model: ModelId | str) -> bool:
        raise NotImplementedError

    async def model_capabilities(self, model: ModelId | str) -> ModelCapabilities | None:
        raise NotImplementedError


def add(left: int, right: int) -> int:
    """Add two numbers."""
    return left + right


async def double(number: int) -> dict[str, int]:
    """Double a number."""
    await asyncio.sleep(0)
    return {"doubled": 2 * number}


def fail() -> NoReturn:
    """Fail."""
    raise OSError("the disk is full")


ADD = [("add", '{"left": 1, "right": 2}')]


async def answers(
    provider: Scripted, *tools: Callable[..., Any] | Tool, **options: Unpack[ToolLoopOptions]
) -> ToolLoopResult:
    asked: ModelProvider = provider
    return await run_tools(asked, QUESTION, tools, **options)


def contents(result: ToolLoopResult) -> list[str]:
    return [each.content for step in result.steps for each in step.results]


async def test_the_model_gets_the_results_with_their_ids_and_names_and_answers() -> None:
    model = Scripted([*ADD, ("double", '{"number": 4}')], "It is 3, and 8.")
    result = await answers(model, add, double)
    assert result.text == "It is 3, and 8."
    assert result.response.finish_reason == "stop"
    question, call, *results, last = result.messages
    assert question.content == "What is it?"
    assert [each.name for each in call.tool_calls] == ["add", "double"]
    assert [(each.role, each.content, each.tool_call_id, each.name) for each in results] == [
        ("tool", "3", "call_1_0", "add"),
        ("tool", '{"doubled":8}', "call_1_1", "double"),
    ]
    assert last.content == "It is 3, and 8."
    assert [each.messages for each in model.asked] == [(question,), (question, call, *results)]
    assert [tool.name for tool in model.asked[0].tools] == ["add", "double"]


async def test_every_step_is_kept() -> None:
    model = Scripted(ADD, [("double", '{"number": 3}')], "6")
    result = await answers(model, add, double)
    values = [[each.value for each in step.results] for step in result.steps]
    assert values == [[3], [{"doubled": 6}], []]
    assert result.steps[-1].response is result.response
    assert repr(result) == "<ToolLoopResult 3 answers, 2 calls>"
    assert repr(result.steps[0].results[0]) == "<ToolResult add done: 1 characters>"


async def test_a_model_that_calls_nothing_has_answered() -> None:
    result = await answers(Scripted("Hello."), add)
    assert len(result.steps) == 1
    assert [each.role for each in result.messages] == ["user", "assistant"]


async def test_the_tools_of_the_request_are_used_where_none_are_given() -> None:
    model = Scripted(ADD, "3")
    result = await run_tools(model, replace(QUESTION, tools=[add]))
    assert contents(result) == ["3"]


async def test_a_tool_that_is_required_is_required_once() -> None:
    model = Scripted(ADD, "3")
    await run_tools(model, replace(QUESTION, tools=[add], tool_choice="add"))
    assert [each.tool_choice for each in model.asked] == ["add", None]


async def test_calls_of_one_answer_run_side_by_side_and_plain_functions_in_threads() -> None:
    together = threading.Barrier(2, timeout=10)
    threads = set[int]()

    def meet() -> int:
        threads.add(threading.get_ident())
        return together.wait()

    result = await answers(Scripted([("meet", ""), ("meet", "")], "Met."), meet)
    assert sorted(contents(result)) == ["0", "1"]
    assert len(threads) == 2
    assert threading.get_ident() not in threads


async def test_calls_run_one_after_another_where_that_is_asked_for() -> None:
    running, most = 0, 0

    async def work(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return number

    calls = [("work", f'{{"number": {number}}}') for number in range(3)]
    assert contents(await answers(Scripted(calls, "Done."), work, parallel=False)) == list("012")
    assert most == 1
    assert contents(await answers(Scripted(calls, "Done."), work)) == list("012")
    assert most == 3


async def test_a_plain_function_may_return_what_is_to_be_awaited() -> None:
    def later(number: int) -> Any:  # noqa: ANN401  that it is a coroutine is not told
        return double(number)

    result = await answers(Scripted([("later", '{"number": 4}')], "8"), later)
    assert contents(result) == ['{"doubled":8}']


@pytest.mark.parametrize(
    ("call", "told", "kind"),
    [
        (
            ("subtract", "{}"),
            "Error: There is no tool 'subtract'. The tools are: add, fail.",
            ToolCallInvalid,
        ),
        (
            ("add", "[]"),
            "Error: The arguments of tool 'add' do not fit: Expected `object`, got `array`.",
            ToolCallInvalid,
        ),
        (("fail", "{}"), "Error: OSError: the disk is full", OSError),
    ],
    ids=["unknown", "arguments", "raised"],
)
@pytest.mark.parametrize("parallel", [True, False])
async def test_what_goes_wrong_is_told_to_the_model_or_ends_it(
    call: tuple[str, str], told: str, kind: type[Exception], *, parallel: bool
) -> None:
    calls = [call, *ADD]
    result = await answers(Scripted(calls, "Sorry."), add, fail, parallel=parallel)
    assert contents(result)[0].startswith(told)
    assert contents(result)[1:] == ["3"]
    first = result.steps[0].results[0]
    assert type(first.error) is kind
    assert repr(first).startswith(f"<ToolResult {call[0]} failed: {kind.__name__}")
    with pytest.raises(kind) as caught:
        await answers(Scripted(calls), add, fail, parallel=parallel, on_error="raise")
    assert f"Error: {caught.value}".startswith(told.replace("OSError: ", ""))


class Silent(Exception):
    """One that cannot say what it is about."""

    def __str__(self) -> str:
        raise ValueError("not now")


@pytest.mark.parametrize(
    ("error", "told"),
    [(OSError("no k\udcff"), "Error: OSError: no k?"), (Silent(), "Error: Silent")],
    ids=["half a character", "no words"],
)
async def test_whatever_words_an_error_has_the_model_is_told_of_it(
    error: Exception, told: str
) -> None:
    def raises() -> None:
        raise error

    result = await answers(Scripted([("raises", "{}")], "Sorry."), raises)
    assert contents(result) == [told]


async def test_arguments_that_no_server_would_take_back_are_left_out_of_the_history() -> None:
    calls = [("add", '{"left": 1'), ("add", "[]"), ("add", '{"left": 1}')]
    result = await answers(Scripted(calls, "Sorry."), add)
    assert [call.arguments for call in result.messages[1].tool_calls] == ["{}", "{}", '{"left": 1}']
    assert [each.call.arguments for each in result.steps[0].results] == [text for _, text in calls]


async def test_a_function_that_runs_out_of_items_is_not_waited_for_for_ever() -> None:
    def first(names: list[str]) -> str:
        return next(iter(names))

    result = await answers(Scripted([("first", '{"names": []}')], "Sorry."), first)
    assert contents(result) == ["Error: RuntimeError: StopIteration: there was no next item"]


def of_a_thread() -> NoReturn:
    raise concurrent.futures.CancelledError


async def of_a_task() -> NoReturn:
    task = asyncio.create_task(asyncio.sleep(0))
    task.cancel()
    await task
    raise AssertionError


@pytest.mark.parametrize("tool", [of_a_thread, of_a_task])
@pytest.mark.parametrize("parallel", [True, False])
async def test_a_function_whose_own_work_was_given_up_gives_nothing_else_up(
    tool: Callable[..., Any], *, parallel: bool
) -> None:
    model = Scripted([(tool.__name__, "{}"), *ADD], "Sorry.")
    result = await answers(model, tool, add, parallel=parallel)
    said = "Error: RuntimeError: CancelledError: what it waited for was given up"
    assert contents(result) == [said, "3"]


async def test_what_is_no_error_but_an_end_comes_out_as_it_is() -> None:
    def leave() -> NoReturn:
        raise GeneratorExit

    with pytest.raises(GeneratorExit):
        await answers(Scripted([("leave", "{}"), *ADD]), leave, add)


async def test_half_a_character_in_a_result_is_replaced() -> None:
    def name() -> str:
        return "a\udcff.txt"

    assert contents(await answers(Scripted([("name", "{}")], "Sorry."), name)) == ["a?.txt"]


async def test_a_result_that_cannot_be_told_is_an_error_of_the_tool() -> None:
    def strange() -> object:
        return object()

    result = await answers(Scripted([("strange", "{}")], "Sorry."), strange)
    assert contents(result)[0].startswith("Error: TypeError: object cannot be written as JSON")


async def test_where_one_tool_ends_it_the_others_are_given_up() -> None:
    given_up = asyncio.Event()

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            given_up.set()

    with pytest.raises(OSError, match="the disk is full"):
        await answers(Scripted([("wait", ""), ("fail", "")]), wait, fail, on_error="raise")
    assert given_up.is_set()


async def test_a_hook_sees_each_call_that_fits_in_turn_and_may_answer_it() -> None:
    seen = list[str]()

    def ask(call: ToolCall) -> str | None:
        seen.append(f"{call.name} {call.arguments}")
        return "refused by the user" if call.name == "fail" else None

    calls = [("fail", "{}"), ("nope", "{}"), ("add", "{}"), *ADD]
    result = await answers(Scripted(calls, "I see."), add, fail, on_call=ask)
    assert seen == ["fail {}", f"add {ADD[0][1]}"]
    told = contents(result)
    assert (told[0], told[3]) == ("refused by the user", "3")
    assert result.steps[0].results[0].error is None


async def test_a_hook_sees_each_result_in_turn_and_may_put_another_in_its_place() -> None:
    async def shorten(result: ToolResult) -> object:
        await asyncio.sleep(0)
        return {"sum": "less than 10"} if result.content == "3" else None

    result = await answers(
        Scripted([*ADD, ("double", '{"number": 4}')], "I see."), add, double, on_result=shorten
    )
    assert contents(result) == ['{"sum":"less than 10"}', '{"doubled":8}']
    assert result.messages[2].content == '{"sum":"less than 10"}'


async def test_a_hook_may_wait_without_stopping_the_loop() -> None:
    answered = threading.Event()

    def ask(_: ToolCall) -> None:
        assert answered.wait(10)

    async def person() -> None:
        answered.set()

    model = Scripted(ADD, "3")
    async with asyncio.TaskGroup() as group:
        running = group.create_task(answers(model, add, on_call=ask))
        group.create_task(person())
    assert running.result().text == "3"


@pytest.mark.parametrize("hook", ["on_call", "on_result"])
async def test_what_a_hook_raises_ends_it(hook: str) -> None:
    def refuse(_: object) -> NoReturn:
        raise PermissionError("not here")

    options: Any = {hook: refuse}
    with pytest.raises(PermissionError, match="not here"):
        await answers(Scripted(ADD), add, **options)


async def test_a_tool_without_a_function_is_for_the_hook() -> None:
    tool = Tool(name="ask")
    with pytest.raises(InvalidRequest, match="The tool 'ask' has no function to call"):
        await answers(Scripted(), tool)
    result = await answers(Scripted([("ask", "")], "Yes."), tool, on_call=lambda _: "yes")
    assert contents(result) == ["yes"]
    with pytest.raises(InvalidRequest, match="no function, and `on_call` gave no result for it"):
        await answers(Scripted([("ask", "")]), tool, on_call=lambda _: None)


async def test_a_conversation_without_an_end_is_ended_and_can_be_gone_on_with() -> None:
    model = Scripted(ADD, ADD, ADD)
    with pytest.raises(ToolLoopLimit, match=r"still calls tools after 2 answers.+`max_steps`") as e:
        await answers(model, add, max_steps=2)
    assert [each.role for each in e.value.messages] == [
        "user",
        *("assistant", "tool"),
        *("assistant", "tool"),
    ]
    assert len(model.asked) == 3
    assert e.value.service == "s"
    model = Scripted("3")
    result = await run_tools(model, replace(QUESTION, messages=e.value.messages), [add])
    assert result.messages[:-1] == e.value.messages


async def test_after_as_many_calls_as_are_allowed_the_model_may_answer() -> None:
    assert (await answers(Scripted(ADD, ADD, "3"), add, max_steps=2)).text == "3"


async def test_calls_of_an_answer_that_was_cut_are_never_run() -> None:
    called = list[int]()

    def note(number: int) -> None:
        called.append(number)

    model = Scripted([("note", '{"number": 1}')])
    model.finish_reason = "length"
    with pytest.raises(
        ToolLoopLimit, match="cut in its tool calls; none of them was run"
    ) as caught:
        await answers(model, note)
    assert called == []
    assert caught.value.messages == QUESTION.messages


async def test_an_answer_that_was_cut_and_calls_nothing_is_the_last() -> None:
    model = Scripted("It is th")
    model.finish_reason = "length"
    assert (await answers(model, add)).response.finish_reason == "length"


async def test_an_error_of_the_provider_passes_through() -> None:
    with pytest.raises(RateLimited):
        await answers(Scripted(ADD, RateLimited("busy")), add)


async def test_a_conversation_that_is_given_up_gives_up_its_tools() -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with asyncio.TaskGroup() as group:
        running = group.create_task(answers(Scripted([("wait", "")]), wait))
        await started.wait()
        running.cancel()
    assert ended.is_set()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"max_steps": 0}, "`max_steps` is 0; allowed: a whole number from 1."),
        ({"parallel": "yes"}, "`parallel` is 'yes'"),
        ({"on_error": "ignore"}, "`on_error` is 'ignore'; allowed: tell, raise."),
        ({"on_call": 5}, "`on_call` is 5; allowed: a function."),
        ({"on_result": "f"}, "`on_result` is 'f'; allowed: a function."),
    ],
)
async def test_an_option_that_cannot_be_is_refused_before_anything_is_asked(
    options: Any,  # noqa: ANN401  wrong on purpose
    why: str,
) -> None:
    model = Scripted()
    with pytest.raises(InvalidRequest) as caught:
        await answers(model, add, **options)
    assert why in str(caught.value)
    assert model.asked == []


async def test_without_tools_there_is_nothing_to_run() -> None:
    for tools in ((), None):
        with pytest.raises(InvalidRequest, match="There are no tools to run"):
            await run_tools(Scripted(), QUESTION, tools)


def test_a_result_shows_nothing_of_what_was_said() -> None:
    result = ToolResult(call=ToolCall("1", "add", SECRET), content=SECRET, value=SECRET)
    assert SECRET not in repr(result)


@pytest.mark.parametrize("written", ["", "{", "[1]", '"a"', '{"a": '])
async def test_arguments_that_no_server_takes_back_are_not_sent_back(written: str) -> None:
    model = Scripted([("double", written), ("double", '{"number": 4}')], "8")
    result = await run_tools(model, QUESTION, tools=[double])
    repeated = model.asked[1].messages[1]
    assert [call.arguments for call in repeated.tool_calls] == ["{}", '{"number": 4}']
    assert result.steps[0].results[0].call.arguments == written
    assert result.steps[0].results[0].content.startswith("Error: ")
