"""Refusals of the emulated Ollama, word for word."""

import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from patinox.testing import OllamaAnswer, OllamaModel, OllamaToolCall

Serving = Callable[..., AbstractAsyncContextManager[Any]]
JSON = "application/json; charset=utf-8"
PLAIN_JSON = "application/json"
TINY = OllamaModel(name="tiny", reply="Hi")
EMBEDDER = OllamaModel(
    name="nomic-embed-text", capabilities=("embedding",), family="nomic-bert", embedding_length=768
)
WEATHER = OllamaAnswer(
    text="Checking.",
    thinking=("Need the ", "weather."),
    tool_calls=(OllamaToolCall("get_weather", {"city": "Paris", "days": 2}),),
)
THINKER = OllamaModel(
    name="qwen3:4b", capabilities=("completion", "tools", "thinking"), family="qwen3", reply=WEATHER
)
STUB = OllamaModel(
    name="gpt-oss:120b-cloud", family="gptoss", remote_model="gpt-oss:120b", embedding_length=0
)
ASK = [{"role": "user", "content": "hello there"}]
BUNDLE = (
    TINY,
    THINKER,
    EMBEDDER,
    STUB,
    OllamaModel(name="my-stub", remote_model="gpt-oss:120b"),
    OllamaModel(name="odd-stub", remote_model="x", remote_host="https://example.com"),
)


BOTH = ("0.33.0", "0.24.0")


def read_table(text: str, *versions: str) -> list[object]:
    """Rows of two lines: a path and a body; a status and an error. For each version one."""
    lines = text.replace("CHAT", '"model": "tiny", ASK').replace("ASK", MESSAGES).splitlines()
    rows = list[object]()
    for asked, said in zip(lines[::2], lines[1::2], strict=True):
        path, _, body = asked.partition(" ")
        status, _, error = said.strip().partition(" ")
        for version in versions:
            name = f"{version} {len(rows)} {error}"
            rows.append(pytest.param(version, path, body.encode(), int(status), error, id=name))
    return rows


MESSAGES = f'"messages": {json.dumps(ASK)}'
REFUSED = r"""/api/chat
    400 missing request body
/api/show
    400 missing request body
/api/chat nope
    400 invalid character 'o' in literal null (expecting 'u')
/api/chat {"a":trze}
    400 invalid character 'z' in literal true (expecting 'u')
/api/chat [fals
    400 unexpected EOF
/api/chat {"a":-x}
    400 invalid character 'x' in numeric literal
/api/chat {"a":-Infinity}
    400 invalid character 'I' in numeric literal
/api/chat -
    400 unexpected EOF
/api/chat [{"a":"]"} x]
    400 invalid character 'x' after array element
/api/chat {"a":[1] x}
    400 invalid character 'x' after object key:value pair
/api/chat oops
    400 invalid character 'o' looking for beginning of value
/api/chat {"model":
    400 unexpected EOF
/api/chat {"model":"ti
    400 unexpected EOF
/api/chat {model:1}
    400 invalid character 'm' looking for beginning of object key string
/api/chat {"a" 1}
    400 invalid character '1' after object key
/api/chat {"a":1 "b"}
    400 invalid character '"' after object key:value pair
/api/chat {"a":NaN}
    400 invalid character 'N' looking for beginning of value
/api/chat null
    400 model is required
/api/chat "x"
    400 json: cannot unmarshal string into Go value of type api.ChatRequest
/api/chat true
    400 json: cannot unmarshal bool into Go value of type api.ChatRequest
/api/chat 3
    400 json: cannot unmarshal number into Go value of type api.ChatRequest
/api/chat [1]
    400 json: cannot unmarshal array into Go value of type api.ChatRequest
/api/chat {"model": "tiny", "messages": [{"role": "user", "content": [{"type": "text"}]}]}
    400 json: cannot unmarshal array into Go struct field ChatRequest.messages.content of type string
/api/chat {"model": 5}
    400 json: cannot unmarshal number into Go struct field ChatRequest.model of type string
/api/chat {"messages": "hello"}
    400 json: cannot unmarshal string into Go struct field ChatRequest.messages of type []api.Message
/api/chat {"messages": ["x"]}
    400 json: cannot unmarshal string into Go struct field ChatRequest.messages of type api.Alias
/api/chat {CHAT, "tools": "x"}
    400 json: cannot unmarshal string into Go struct field ChatRequest.tools of type api.Tools
/api/chat {CHAT, "stream": "yes"}
    400 json: cannot unmarshal string into Go struct field ChatRequest.stream of type bool
/api/chat {CHAT, "top_logprobs": 1.5}
    400 json: cannot unmarshal number 1.5 into Go struct field ChatRequest.top_logprobs of type int
/api/chat {CHAT, "options": []}
    400 json: cannot unmarshal array into Go struct field ChatRequest.options of type map[string]interface {}
/api/chat {CHAT, "tools": [{"function": {"name": 3}}]}
    400 json: cannot unmarshal number into Go struct field ToolFunction.tools.function.name of type string
/api/chat {CHAT, "tools": [{"function": "x"}]}
    400 json: cannot unmarshal string into Go struct field Tool.tools.function of type api.ToolFunction
/api/chat {CHAT, "tools": [{"function": {"parameters": {"properties": {"a": true}}}}]}
    400 json: cannot unmarshal bool into Go struct field ToolFunctionParameters.tools.function.parameters.properties of type api.ToolProperty
/api/chat {CHAT, "tools": [{"function": {"parameters": {"properties": {"a": {"type": 3}}}}}]}
    400 json: cannot unmarshal number into Go struct field ToolFunctionParameters.tools.function.parameters.properties.type of type []string
/api/chat {CHAT, "tools": [{"function": {"parameters": {"properties": []}}}]}
    400 Value looks like object, but can't find closing '}' symbol
/api/chat {"messages": [{"tool_calls": [{"function": 3}]}]}
    400 json: cannot unmarshal number into Go struct field ChatRequest.messages.tool_calls.function of type api.ToolCallFunction
/api/chat {"messages": [{"images": "AAAA"}]}
    400 json: cannot unmarshal string into Go struct field ChatRequest.messages.images of type []api.ImageData
/api/generate {"images": [3]}
    400 json: cannot unmarshal number into Go struct field GenerateRequest.images of type api.ImageData
/api/show {"options": "x"}
    400 json: cannot unmarshal string into Go struct field ShowRequest.options of type map[string]interface {}
/api/pull {"insecure": "x"}
    400 json: cannot unmarshal string into Go struct field PullRequest.insecure of type bool
/api/chat {"model": "\x"}
    400 invalid character 'x' in string escape code
/api/chat {CHAT, "keep_alive": "9999999h"}
    400 time: invalid duration "9999999h"
/api/chat {CHAT, "keep_alive": "300"}
    400 time: missing unit in duration "300"
/api/chat {CHAT, "keep_alive": "5x"}
    400 time: unknown unit "x" in duration "5x"
/api/chat {CHAT, "keep_alive": "soon"}
    400 time: invalid duration "soon"
/api/embed {"model": "tiny", "keep_alive": true}
    400 Unsupported type: 'bool'
/api/chat {CHAT, "keep_alive": {}}
    400 Unsupported type: 'map[string]interface {}'
/api/chat {CHAT, "keep_alive": []}
    400 Unsupported type: '[]interface {}'
/api/chat {CHAT, "think": "extreme"}
    400 invalid think value: "extreme" (must be "high", "medium", "low", "max", true, or false)
/api/chat {CHAT, "think": 5}
    400 think must be a boolean or string ("high", "medium", "low", "max", true, or false)
/api/chat {CHAT, "top_logprobs": 21}
    400 top_logprobs must be between 0 and 20
/api/generate {"top_logprobs": -1}
    400 top_logprobs must be between 0 and 20
/api/generate {"model": "tiny", "prompt": "x", "images": ["data:image/png;base64,AAAA"]}
    400 illegal base64 data at input byte 4
/api/chat {"model": "tiny", "messages": [{"role": "user", "images": ["AAAAA"]}]}
    400 illegal base64 data at input byte 4
/api/chat {"model": "tiny", "messages": [{"role": "assistant", "tool_calls": [{"function": {"arguments": "{}"}}]}]}
    400 Value looks like object, but can't find closing '}' symbol
/api/chat {"model": "tiny", "messages": [{"role": "assistant", "tool_calls": [{"function": {"arguments": [1]}}]}]}
    400 Value looks like object, but can't find closing '}' symbol
/api/chat {}
    400 model is required
/api/embeddings {}
    400 model is required
/api/show {"model": ""}
    400 model is required
/api/generate {}
    404 model '' not found
/api/embed {}
    404 model '' not found
/api/pull {}
    400 invalid model name
/api/chat {"model": "Bad Name!"}
    400 invalid model name
/api/show {"model": "a@sha256:b"}
    400 invalid model name
/api/chat {"model": "x:local:cloud"}
    400 use either :local or :cloud, not both: "x:local:cloud"
/api/chat {"model": "Nope", ASK}
    404 model 'Nope' not found
/api/generate {"model": "nope:1b"}
    404 model 'nope:1b' not found
/api/embed {"model": "nope"}
    404 model "nope" not found, try pulling it first
/api/embeddings {"model": "nope"}
    404 model "nope" not found, try pulling it first
/api/embeddings {"model": "TINY"}
    404 model "TINY" not found, try pulling it first
/api/copy {"source": "nope", "destination": "b"}
    404 model "nope" not found
/api/copy {"source": "!", "destination": "b"}
    400 source "!" is invalid
/api/copy {"source": "tiny", "destination": ""}
    400 destination "" is invalid
/api/chat {"model": "nomic-embed-text", ASK}
    400 "nomic-embed-text" does not support chat
/api/generate {"model": "nomic-embed-text", "prompt": "x"}
    400 "nomic-embed-text" does not support generate
/api/chat {CHAT, "tools": [{}]}
    400 registry.ollama.ai/library/tiny:latest does not support tools
/api/generate {"model": "tiny", "prompt": "x", "suffix": "y"}
    400 registry.ollama.ai/library/tiny:latest does not support insert
/api/chat {CHAT, "think": "high"}
    400 "tiny" does not support thinking
/api/generate {"model": "tiny", "prompt": "x", "raw": true, "system": "s"}
    400 raw mode does not support template, system, or context
/api/generate {"model": "nope", "prompt": "x", "raw": true, "system": "s"}
    404 model 'nope' not found
/api/generate {"model": "tiny", "prompt": "x", "template": "{{ .Prompt"}
    500 template: :1: unclosed action
/api/generate {"model": "tiny", "prompt": "x", "template": "{{ .System }}\n{{ .Prompt"}
    500 template: :2: unclosed action
/api/generate {"model": "tiny", "prompt": "x", "template": "a\n{{ .Prompt\n"}
    500 template: :3: unclosed action started at :2
/api/chat {CHAT, "options": {"temperature": "hot"}}
    500 option "temperature" must be of type float32
/api/chat {CHAT, "options": {"num_ctx": true}}
    500 option "num_ctx" must be of type integer
/api/generate {"model": "tiny", "options": {"stop": "x"}}
    500 option "stop" must be of type array
/api/chat {CHAT, "options": {"stop": [1]}}
    500 option "stop" must be of an array of strings
/api/embed {"model": "tiny", "options": {"use_mmap": 1}}
    500 option "use_mmap" must be of type boolean
/api/chat {CHAT, "format": "xml"}
    500 invalid format: "\"xml\""; expected "json" or a valid JSON Schema object
/api/embed {"model": "nomic-embed-text", "input": [1]}
    400 invalid input type
/api/embed {"model": "nomic-embed-text", "input": 1}
    400 invalid input type
/api/embed {"model": "nomic-embed-text", "input": "a b c d e", "truncate": false, "options": {"num_ctx": 4}}
    400 the input length exceeds the context length
/api/chat {"model": "odd-stub:local", ASK}
    404 model 'odd-stub:local' not found
/api/chat {"model": "my-stub", ASK}
    401 unauthorized
/api/chat {"model": "gpt-oss:120b:cloud", ASK}
    401 unauthorized
/api/embeddings {"model": "gpt-oss:120b-cloud"}
    401 unauthorized
/api/embed {"model": "anything:cloud", "input": "x"}
    401 unauthorized"""  # noqa: E501 - texts as they are


REFUSED_BY_0_33 = r"""/api/chat {CHAT, "options": {"draft_num_predict": "x"}}
    500 option "draft_num_predict" must be of type integer
/api/show {"model": "nope"}
    404 model 'nope:latest' not found
/api/embed {"model": "tiny", "input": "x"}
    501 This server does not support embeddings. Start it with `--embeddings`
/api/embeddings {"model": "tiny", "prompt": "x"}
    500 This server does not support embeddings. Start it with `--embeddings`
/api/chat {"model": "tiny", "messages": [{"role": "user", "content": "x", "images": ["AAAA"]}]}
    500 {"error":{"code":500,"message":"image input is not supported - hint: if this is unexpected, you may need to provide the mmproj","type":"server_error"}}"""  # noqa: E501 - texts as they are
REFUSED_BY_0_24 = r"""/api/show {"model": "nope"}
    404 model 'nope' not found
/api/show {"model": " Nope:local "}
    404 model 'Nope' not found
/api/embed {"model": "tiny", "input": [""]}
    500 Failed to create new sequence: no input provided
/api/embed {"model": "nomic-embed-text", "input": ["hi", ""]}
    500 Failed to create new sequence: no input provided
/api/embeddings {"model": "tiny", "prompt": "a b c d e", "options": {"num_ctx": 4}}
    500 the input length exceeds the context length
/api/embed {"model": "tiny", "input": "a b c d e", "truncate": false, "options": {"num_ctx": 4}}
    400 the input length exceeds the context length
/api/chat {CHAT, "format": {"type": "foo"}}
    500 invalid JSON schema in format
/api/chat {CHAT, "format": {"properties": 3}}
    500 invalid JSON schema in format
/api/chat {CHAT, "format": {"properties": {"a": {"pattern": "a+"}}}}
    500 invalid JSON schema in format
/api/chat {CHAT, "format": {"$ref": "#/$defs/none"}}
    500 invalid JSON schema in format
/api/chat {CHAT, "format": {"properties": {"a": {"anyOf": [{"type": ["string", "foo"]}]}}}}
    500 invalid JSON schema in format"""


@pytest.mark.parametrize(
    ("version", "path", "body", "status", "error"),
    [
        *read_table(REFUSED, *BOTH),
        *read_table(REFUSED_BY_0_33, "0.33.0"),
        *read_table(REFUSED_BY_0_24, "0.24.0"),
    ],
)
async def test_a_request_is_refused(
    serving: Serving, version: str, path: str, body: bytes, status: int, error: str
) -> None:
    async with serving(*BUNDLE, version=version) as client:
        reply = await client.call("POST", path, body)
    assert (reply.status, reply.json["error"]) == (status, error)
    assert list(reply.json) == (["error", "signin_url"] if status == 401 else ["error"])
    late = status == 500 and path == "/api/chat" and "option" not in error
    assert reply.kind == (PLAIN_JSON if late else JSON)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b" \n", "missing request body"),
        (b'{"a":"\n"}', r"invalid character '\n' in string literal"),
        (b"\xef\xbb\xbf{}", "invalid character '\xef' looking for beginning of value"),
        pytest.param(b"[" * 200_000, "exceeded max depth", id="depth"),
        pytest.param(
            b'{"seed":' + b"9" * 5000 + b"}",
            f"json: cannot unmarshal number {'9' * 5000} into Go value of type float64",
            id="digits",
        ),
    ],
)
async def test_a_body_is_refused(serving: Serving, body: bytes, error: str) -> None:
    async with serving(*BUNDLE) as client:
        reply = await client.call("POST", "/api/chat", body)
    assert (reply.status, reply.json) == (400, {"error": error})


async def test_the_cloud_can_be_signed_in_to_switched_off_or_silent(serving: Serving) -> None:
    async with serving(*BUNDLE, cloud="signed-in") as client:
        stub = (await client.chat("my-stub", stream=False)).json
        named = (await client.chat("gpt-oss:120b-cloud")).lines
        unknown = await client.chat("unknown:cloud")
        foreign = await client.chat("odd-stub")
        assert (await client.get("/api/ps")).json == {"models": []}
    assert (stub["model"], stub["remote_model"]) == ("my-stub", "gpt-oss:120b")
    assert stub["remote_host"] == "https://ollama.com:443"
    assert (named[0]["model"], "remote_model" in named[0]) == ("gpt-oss:120b", False)
    assert (unknown.status, unknown.json) == (404, {"error": "model 'unknown' not found"})
    assert (foreign.status, foreign.json["error"]) == (
        400,
        "this server cannot run this remote model",
    )
    async with serving(*BUNDLE, cloud="disabled") as client:
        inference = await client.chat("gpt-oss:120b-cloud")
        details = await client.post("/api/show", model="my-stub")
        status = (await client.get("/api/status")).json
    assert (inference.status, inference.json["error"]) == (
        403,
        "ollama cloud is disabled: remote model is unavailable",
    )
    assert (details.status, details.json["error"]) == (
        403,
        "ollama cloud is disabled: remote model details are unavailable",
    )
    assert status == {"cloud": {"disabled": True, "source": "env"}}
    async with serving(*BUNDLE, signin_url=None) as client:
        assert (await client.chat("my-stub")).json == {"error": "unauthorized"}


async def test_a_stub_shows_where_it_runs(serving: Serving) -> None:
    async with serving(*BUNDLE) as client:
        shown = (await client.post("/api/show", model="gpt-oss:120b-cloud")).json
    assert (shown["remote_model"], shown["remote_host"]) == (
        "gpt-oss:120b",
        "https://ollama.com:443",
    )
    assert shown["model_info"] == {
        "general.architecture": "gptoss",
        "gptoss.context_length": 131072,
    }
    assert not {"tensors", "template"} & shown.keys()


OPENAI_REFUSED = r"""chat/completions
    400 invalid_request_error EOF
chat/completions {"messages": []}
    400 invalid_request_error [] is too short - 'messages'
chat/completions {"model": "tiny", "messages": [{"role": "user", "content": 5}]}
    400 invalid_request_error invalid message content type: float64
chat/completions {"model": "tiny", "messages": [{"role": "user", "content": true}]}
    400 invalid_request_error invalid message content type: bool
chat/completions {"model": "tiny", "messages": [{"role": "user", "content": {}}]}
    400 invalid_request_error invalid message content type: map[string]interface {}
chat/completions {"model": "tiny", "messages": [{"role": "user"}]}
    400 invalid_request_error invalid message content type: <nil>
chat/completions {"model": "tiny", "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "http://x/y.png"}]}]}
    400 invalid_request_error image URLs are not currently supported, please use base64 encoded data instead
chat/completions {"model": "tiny", "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "data:text/plain,x"}]}]}
    400 invalid_request_error invalid image input
chat/completions {"model": "tiny", "messages": [{"role": "user", "content": [{"type": "poem"}]}]}
    400 invalid_request_error invalid message format
chat/completions {"model": "tiny", "messages": [{"role": "assistant", "tool_calls": [{"function": {"arguments": "{"}}]}]}
    400 invalid_request_error invalid tool call arguments
chat/completions {"model": "tiny", "messages": [{"role": "assistant", "tool_calls": [{"function": {"arguments": "[]"}}]}]}
    400 invalid_request_error invalid tool call arguments
chat/completions {"model": "tiny", "messages": [{"role": "assistant", "tool_calls": [{"function": {"arguments": null}}]}]}
    400 invalid_request_error invalid tool call arguments
chat/completions [1]
    400 invalid_request_error json: cannot unmarshal array into Go value of type openai.ChatCompletionRequest
chat/completions {"messages": [{"role": 3}]}
    400 invalid_request_error json: cannot unmarshal number into Go struct field Message.messages.role of type string
chat/completions {"response_format": "json"}
    400 invalid_request_error json: cannot unmarshal string into Go struct field ChatCompletionRequest.response_format of type openai.ResponseFormat
completions {"top_p": "x"}
    400 invalid_request_error json: cannot unmarshal string into Go struct field CompletionRequest.top_p of type float32
completions {"model": "tiny", "prompt": "x", "stop": ["a", 3]}
    400 invalid_request_error invalid type for 'stop' field: float64
completions {"model": "tiny", "prompt": ["a"]}
    400 invalid_request_error json: cannot unmarshal array into Go struct field CompletionRequest.prompt of type string
embeddings {"model": "tiny", "input": []}
    400 invalid_request_error invalid input
embeddings {"model": "tiny", "input": "x", "encoding_format": "hex"}
    400 invalid_request_error Invalid value for 'encoding_format' = hex. Supported values: ['float', 'base64']."""  # noqa: E501 - texts as they are
EFFORT_0_33 = r"""chat/completions {CHAT, "reasoning_effort": "much"}
    400 invalid_request_error invalid reasoning value: "much" (must be "minimal", "low", "medium", "high", "xhigh", "ultra", "max", or "none")"""  # noqa: E501 - a text as it is
EFFORT_0_24 = r"""chat/completions {CHAT, "reasoning_effort": "much"}
    400 invalid_request_error invalid reasoning value: 'much' (must be "high", "medium", "low", "max", or "none")
chat/completions {CHAT, "reasoning_effort": "minimal"}
    400 invalid_request_error invalid reasoning value: 'minimal' (must be "high", "medium", "low", "max", or "none")
chat/completions {CHAT, "reasoning": {"effort": "ultra"}}
    400 invalid_request_error invalid reasoning value: 'ultra' (must be "high", "medium", "low", "max", or "none")"""  # noqa: E501 - texts as they are
HANDLED = r"""chat/completions {"model": "nope", ASK}
    404 not_found_error model 'nope' not found
chat/completions {"model": "", ASK}
    400 invalid_request_error model is required
chat/completions {CHAT, "reasoning": {"effort": "high"}}
    400 invalid_request_error "tiny" does not support thinking
embeddings {"model": "tiny", "input": [[1, 2]]}
    400 invalid_request_error invalid input type
chat/completions {"model": "my-stub", ASK}
    401 api_error unauthorized"""
HANDLED_BY_0_33 = r"""embeddings {"model": "tiny", "input": "x"}
    501 api_error This server does not support embeddings. Start it with `--embeddings`"""
HANDLED_BY_0_24 = r"""embeddings {"model": "tiny", "input": ""}
    500 api_error Failed to create new sequence: no input provided"""


@pytest.mark.parametrize(
    ("version", "path", "body", "status", "error"),
    [
        *read_table(OPENAI_REFUSED, *BOTH),
        *read_table(EFFORT_0_33, "0.33.0"),
        *read_table(EFFORT_0_24, "0.24.0"),
    ],
)
async def test_an_openai_request_that_cannot_be_translated_is_refused(
    serving: Serving, version: str, path: str, body: bytes, status: int, error: str
) -> None:
    async with serving(*BUNDLE, version=version) as client:
        reply = await client.call("POST", f"/v1/{path}", body)
    assert (reply.status, reply.json) == (status, openai_error(error))
    assert (reply.kind, reply.body[-1:]) == (JSON, b"}")


@pytest.mark.parametrize(
    ("version", "path", "body", "status", "error"),
    [
        *read_table(HANDLED, *BOTH),
        *read_table(HANDLED_BY_0_33, "0.33.0"),
        *read_table(HANDLED_BY_0_24, "0.24.0"),
    ],
)
async def test_an_openai_request_is_refused_by_what_handles_it(
    serving: Serving, version: str, path: str, body: bytes, status: int, error: str
) -> None:
    async with serving(*BUNDLE, version=version) as client:
        reply = await client.call("POST", f"/v1/{path}", body)
    assert (reply.status, reply.json) == (status, openai_error(error))
    assert (reply.kind, reply.body[-2:]) == (PLAIN_JSON, b"}\n")


def openai_error(text: str) -> dict[str, object]:
    kind, _, message = text.partition(" ")
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


@pytest.mark.parametrize(
    ("model", "kind", "error"),
    [
        ("gpt-oss:120b-cloud", JSON, "ollama cloud is disabled: remote model is unavailable"),
        ("anything:cloud", JSON, "ollama cloud is disabled: remote model is unavailable"),
        (
            "my-stub",
            PLAIN_JSON,
            {
                "message": "ollama cloud is disabled: remote model is unavailable",
                "type": "api_error",
                "param": None,
                "code": None,
            },
        ),
    ],
)
async def test_an_error_of_the_cloud_keeps_its_shape_under_v1_where_the_cloud_was_named(
    serving: Serving, model: str, kind: str, error: object
) -> None:
    async with serving(*BUNDLE, cloud="disabled") as client:
        reply = await client.post("/v1/chat/completions", model=model, messages=ASK)
    assert (reply.status, reply.kind, reply.json) == (403, kind, {"error": error})
