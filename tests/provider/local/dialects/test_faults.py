"""Every error that the three servers are known to send, and what it means."""

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patinox.provider.errors import (
    AuthenticationError,
    CapabilityNotSupported,
    CloudModelRefused,
    ContextLengthExceeded,
    InvalidRequest,
    ProviderError,
    RateLimited,
)
from patinox.provider.local.dialects.base import Dialect
from patinox.provider.local.dialects.faults import (
    MAX_TEXT,
    Fault,
    Rule,
    classify,
    clean,
    discreet,
    is_fault,
    read_fault,
    retry_after,
)
from patinox.provider.local.dialects.llamacpp import LLAMACPP
from patinox.provider.local.dialects.ollama import OllamaDialect
from patinox.provider.local.errors import ModelNotFound, ModelNotLoaded, ParseError, ServiceError
from patinox.provider.local.lmstudio import LMStudioProvider
from patinox.provider.local.wire.http import HTTPReply

OLLAMA: Dialect = OllamaDialect()
LMSTUDIO = LMStudioProvider.dialect
Kind = type[ProviderError]


def reply(status: int, body: bytes = b"", **headers: str) -> HTTPReply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return HTTPReply(status=status, headers=named, body=body)


def string(text: str) -> bytes:
    return json.dumps({"error": text}).encode()


def native(message: str, **more: object) -> bytes:
    return json.dumps({"error": {"message": message, **more}}).encode()


OVERFLOW = {
    "code": 400,
    "message": "request (9412 tokens) exceeds the available context size (8192 tokens), "
    "try increasing it",
    "type": "exceed_context_size_error",
    "n_prompt_tokens": 9412,
    "n_ctx": 8192,
}
N_KEEP = (
    "The number of tokens to keep from the initial prompt is greater than the context length "
    "(n_keep: 9000>= n_ctx: 8192). Try to load the model with a larger context length, or provide "
    "a shorter input."
)
NO_VISION = (
    "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj"
)

FROM_OLLAMA: dict[str, tuple[int, bytes, Kind]] = {
    "empty body": (400, string("missing request body"), InvalidRequest),
    "no JSON": (
        400,
        string("invalid character 'x' looking for beginning of value"),
        InvalidRequest,
    ),
    "half of a JSON": (400, string("unexpected EOF"), InvalidRequest),
    "wrong type": (
        400,
        string("json: cannot unmarshal array into Go struct field ChatRequest.messages.content"),
        InvalidRequest,
    ),
    "no model named": (400, string("model is required"), ModelNotFound),
    "empty model": (404, string("model '' not found"), ModelNotFound),
    "malformed name": (400, string("invalid model name"), InvalidRequest),
    "local and cloud": (
        400,
        string('use either :local or :cloud, not both: "x:local:cloud"'),
        InvalidRequest,
    ),
    "not installed": (404, string("model 'nope' not found"), ModelNotFound),
    "not installed, embed": (
        404,
        string('model "nope" not found, try pulling it first'),
        ModelNotFound,
    ),
    "not in the registry": (
        500,
        string("pull model manifest: file does not exist"),
        ModelNotFound,
    ),
    "embedding model": (400, string('"x" does not support chat'), CapabilityNotSupported),
    "no tools": (
        400,
        string("registry.ollama.ai/library/tiny:latest does not support tools"),
        CapabilityNotSupported,
    ),
    "no thinking": (400, string('"tiny" does not support thinking'), CapabilityNotSupported),
    "no images": (
        500,
        string(json.dumps({"error": {"code": 500, "message": NO_VISION, "type": "server_error"}})),
        CapabilityNotSupported,
    ),
    "chat model embeds": (
        501,
        string("This server does not support embeddings. Start it with `--embeddings`"),
        CapabilityNotSupported,
    ),
    "chat model embeds, legacy": (
        500,
        string("This server does not support embeddings. Start it with `--embeddings`"),
        CapabilityNotSupported,
    ),
    "option of a wrong type": (
        500,
        string('option "temperature" must be of type float32'),
        InvalidRequest,
    ),
    "unknown format": (
        500,
        string('invalid format: "\\"xml\\""; expected "json" or a valid JSON Schema object'),
        InvalidRequest,
    ),
    "unknown effort": (
        400,
        string('invalid think value: "x" (must be "high", "medium", "low", "max", true, or false)'),
        InvalidRequest,
    ),
    "bad image": (400, string("illegal base64 data at input byte 4"), InvalidRequest),
    "input too long": (
        400,
        string("the input length exceeds the context length"),
        ContextLengthExceeded,
    ),
    "input too long, cut": (
        400,
        string("input after truncation exceeds maximum context length"),
        ContextLengthExceeded,
    ),
    "input too long, not to be cut": (
        400,
        string("input exceeds maximum context length and cannot be truncated further"),
        ContextLengthExceeded,
    ),
    "prompt too long": (
        400,
        string(
            "the prompt is longer than the context length currently available to the model; "
            "shorten it"
        ),
        ContextLengthExceeded,
    ),
    "prompt too long, nested": (
        400,
        string(json.dumps({"error": OVERFLOW})),
        ContextLengthExceeded,
    ),
    "embedding crashed": (
        400,
        string('do embedding request: Post "http://127.0.0.1:40001/embedding": EOF'),
        ServiceError,
    ),
    "queue full": (
        503,
        string("server busy, please try again.  maximum pending requests exceeded"),
        RateLimited,
    ),
    "load failed": (
        500,
        string("llama-server process has terminated: exit status 1: error loading model: bad file"),
        ServiceError,
    ),
    "bad file": (
        500,
        string("error loading model: this model may be incompatible with your version of Ollama."),
        ServiceError,
    ),
    "slow start": (500, string("timed out waiting for llama-server to start - "), ServiceError),
    "out of memory": (500, string("cudaMalloc failed: out of memory"), ServiceError),
    "not enough memory": (
        500,
        string("model requires more system memory: insufficient memory"),
        ServiceError,
    ),
    "child gone": (
        500,
        string(
            "model runner has unexpectedly stopped, this may be due to resource limitations or an "
            "internal error, check ollama server logs for details"
        ),
        ServiceError,
    ),
    "child gone mid-stream": (
        200,
        string("an error was encountered while running the model: unexpected EOF"),
        ServiceError,
    ),
    "call cannot be read": (
        500,
        string('llama-server returned invalid tool call arguments for "f": {'),
        ServiceError,
    ),
    "not signed in": (
        401,
        b'{"error":"unauthorized","signin_url":"https://ollama.com/connect?name=h&key=c3NoLWV"}',
        AuthenticationError,
    ),
    "cloud disabled": (
        403,
        string("ollama cloud is disabled: remote model is unavailable"),
        CloudModelRefused,
    ),
    "other remote": (400, string("this server cannot run this remote model"), CloudModelRefused),
    "cloud unreachable": (
        502,
        b'{"StatusCode":502,"Status":"502 Bad Gateway","error":"dial tcp: no such host"}',
        ServiceError,
    ),
    "cloud busy": (429, string("too many requests"), RateLimited),
    "bad origin": (403, b"", AuthenticationError),
    "unknown path": (404, b"404 page not found", ParseError),
    "wrong method": (405, b"405 method not allowed", ParseError),
    "compatible route": (
        404,
        b'{"error":{"message":"model \'nope\' not found","type":"not_found_error","code":null}}',
        ModelNotFound,
    ),
}
FROM_LMSTUDIO: dict[str, tuple[int, bytes, Kind]] = {
    "unknown path": (
        200,
        string("Unexpected endpoint or method. (GET /health)"),
        ParseError,
    ),
    "no key": (
        401,
        native(
            "An LM Studio API token is required to make requests to this server, but none was "
            "provided using the Authorization header using the 'Bearer' scheme "
            "(i.e., 'Authorization: Bearer $LM_API_TOKEN').",
            type="invalid_request",
            code="invalid_api_key",
        ),
        AuthenticationError,
    ),
    "wrong key": (
        401,
        native("Malformed LM Studio API token provided: sk-lm-abcd***"),
        AuthenticationError,
    ),
    "not permitted": (
        403,
        native(
            "Permission denied to use plugin 'mcp/x'. Ensure that the server configuration allows "
            "plugin usage.",
            type="invalid_request",
            param="integrations",
            code=None,
        ),
        AuthenticationError,
    ),
    "unknown model": (
        400,
        native(
            'Invalid model identifier "nope". Please specify a valid downloaded model (e.g., a).',
            type="invalid_request_error",
            param="model",
            code="model_not_found",
        ),
        ModelNotFound,
    ),
    "unknown model, 0.3": (
        404,
        native('Model "x" not found. Please specify a valid model.'),
        ModelNotFound,
    ),
    "unknown model, load": (
        404,
        native("Model nope not found in downloaded models", type="model_not_found"),
        ModelNotFound,
    ),
    "unload unknown": (
        404,
        native("Model with instance identifier 'x' is not loaded.", type="model_not_found"),
        ModelNotFound,
    ),
    "none loaded": (
        400,
        native(
            "No models loaded. Please load a model in the developer page or use the 'lms load' "
            "command.",
            type="invalid_request_error",
            param="model",
            code=None,
        ),
        ModelNotLoaded,
    ),
    "several loaded": (
        400,
        native("Multiple models are loaded. Please specify a model."),
        InvalidRequest,
    ),
    "guardrail": (
        400,
        native(
            'Failed to load model "acme/owl-70b". Error: Model loading was stopped due to '
            "insufficient system resources. …",
            type="invalid_request_error",
        ),
        ServiceError,
    ),
    "load failed": (
        400,
        string("Error loading model. (Exit code: 18446744072635812000)"),
        ServiceError,
    ),
    "crash": (
        400,
        string("The model has crashed without additional information. (Exit code: null)"),
        ServiceError,
    ),
    "unloaded": (400, string("Model unloaded"), ServiceError),
    "reloaded": (400, string("Model reloaded"), ServiceError),
    "engine gone": (
        400,
        string("Engine protocol predict request failed: fetch failed"),
        ServiceError,
    ),
    "overflow": (400, string(N_KEEP), ContextLengthExceeded),
    "overflow, native": (
        500,
        native(N_KEEP, type="internal_error", code="unknown", param=None),
        ContextLengthExceeded,
    ),
    "overflow, engine": (
        400,
        string(f"Engine protocol predict request returned 400: {json.dumps({'error': OVERFLOW})}"),
        ContextLengthExceeded,
    ),
    "overflow, shared": (400, string("Context size has been exceeded."), ContextLengthExceeded),
    "overflow, older": (
        400,
        string("Trying to keep the first 5000 tokens when context the overflows. However, …"),
        ContextLengthExceeded,
    ),
    "no messages": (400, string("'messages' field is required"), InvalidRequest),
    "bad types": (400, string("_0x48eeaf is not iterable"), InvalidRequest),
    "bad JSON": (
        400,
        native("Invalid body: failed to parse JSON value.", code="invalid_json"),
        InvalidRequest,
    ),
    "bad JSON, page": (400, b"<!DOCTYPE html><pre>SyntaxError</pre>", InvalidRequest),
    "unknown key": (
        400,
        native("Unrecognized key(s) in object: 'ttl'", code="unrecognized_keys"),
        InvalidRequest,
    ),
    "effort": (
        400,
        native("Reasoning setting 'off' is not supported by model 'm'.", param="reasoning"),
        InvalidRequest,
    ),
    "stale response": (
        400,
        native("Could not find stored response for previous_response_id 'x'", code="invalid_value"),
        InvalidRequest,
    ),
    "tool_choice": (
        400,
        string("Invalid tool_choice type: 'object'. Supported string values: none, auto, required"),
        InvalidRequest,
    ),
    "json_object": (
        400,
        string("'response_format.type' must be 'json_schema' or 'text'"),
        InvalidRequest,
    ),
    "image address": (
        400,
        string("'url' field must be a base64 encoded image."),
        InvalidRequest,
    ),
    "tool server": (500, string("MCP error -32001: Request timed out"), ServiceError),
}
FROM_LLAMACPP: dict[str, tuple[int, bytes, Kind]] = {
    "bad JSON": (
        400,
        native(
            "[json.exception.parse_error.101] parse error at line 1",
            code=400,
            type="invalid_request_error",
        ),
        InvalidRequest,
    ),
    "no messages": (
        400,
        native("'messages' is required", code=400, type="invalid_request_error"),
        InvalidRequest,
    ),
    "overflow": (400, json.dumps({"error": OVERFLOW}).encode(), ContextLengthExceeded),
    "key": (
        401,
        native("Invalid API Key", type="authentication_error", code=401),
        AuthenticationError,
    ),
    "disabled": (
        403,
        native("this feature is disabled", type="feature_disabled"),
        CapabilityNotSupported,
    ),
    "unknown path": (
        404,
        native("File Not Found", type="not_found_error", code=404),
        ParseError,
    ),
    "no gzip": (415, b"Error: gzip is not supported by this browser", InvalidRequest),
    "no images": (500, native(NO_VISION, code=500, type="server_error"), CapabilityNotSupported),
    "bad arguments": (
        500,
        native("Failed to parse tool call arguments as JSON: x", code=500, type="server_error"),
        InvalidRequest,
    ),
    "bad grammar": (
        400,
        native("Failed to initialize samplers: failed to parse grammar", type="server_error"),
        InvalidRequest,
    ),
    "long input": (
        500,
        native(
            "input (1202 tokens) is too large to process. increase the physical batch size "
            "(current batch size: 512)",
            code=500,
            type="server_error",
        ),
        ContextLengthExceeded,
    ),
    "shared context": (
        500,
        native("Context size has been exceeded.", code=500, type="server_error"),
        ContextLengthExceeded,
    ),
    "compute": (500, native("Compute error.", code=500, type="server_error"), ServiceError),
    "not switched on": (
        501,
        native(
            "This server does not support embeddings. Start it with `--embeddings`",
            code=501,
            type="not_supported_error",
        ),
        CapabilityNotSupported,
    ),
    "loading": (
        503,
        native("Loading model", type="unavailable_error", code=503),
        ModelNotLoaded,
    ),
    "no slot": (
        503,
        native("no slot available", type="unavailable_error", code=503),
        RateLimited,
    ),
    "router, unknown": (
        400,
        native("model 'x' not found", type="invalid_request_error", code=400),
        ModelNotFound,
    ),
    "router, none named": (
        400,
        native("model name is missing from the request", type="invalid_request_error", code=400),
        InvalidRequest,
    ),
    "mid-stream": (200, native("Compute error.", code=500, type="server_error"), ServiceError),
}
TABLE = [
    pytest.param(dialect, *row, id=f"{server}: {name}")
    for server, dialect, rows in [
        ("ollama", OLLAMA, FROM_OLLAMA),
        ("lmstudio", LMSTUDIO, FROM_LMSTUDIO),
        ("llamacpp", LLAMACPP, FROM_LLAMACPP),
    ]
    for name, row in rows.items()
]


@pytest.mark.parametrize(("dialect", "status", "body", "kind"), TABLE)
def test_an_error_is_what_its_server_means_by_it(
    dialect: Dialect, status: int, body: bytes, kind: Kind
) -> None:
    error = dialect.classify(reply(status, body))
    assert type(error) is kind
    assert error.status == status
    assert error.service is None
    assert str(error).isprintable()
    assert ".." not in str(error)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (300, ParseError),
        (301, ParseError),
        (307, ParseError),
        (400, InvalidRequest),
        (401, AuthenticationError),
        (403, AuthenticationError),
        (404, ParseError),
        (405, ParseError),
        (409, InvalidRequest),
        (413, InvalidRequest),
        (422, InvalidRequest),
        (429, RateLimited),
        (499, InvalidRequest),
        (500, ServiceError),
        (501, CapabilityNotSupported),
        (502, ServiceError),
        (503, RateLimited),
        (504, ServiceError),
        (201, ParseError),
        (204, ParseError),
        (299, ParseError),
    ],
)
@pytest.mark.parametrize("body", [b"", b"{}", b'{"error":null}', b"[]", b"7"])
def test_where_nothing_is_said_the_status_decides(status: int, kind: Kind, body: bytes) -> None:
    error = classify(reply(status, body), ())
    assert type(error) is kind
    assert f"HTTP {status}." in error.message


def test_the_rules_of_a_server_go_before_the_common_ones_and_those_before_the_status() -> None:
    rules: tuple[Rule, ...] = ((r"loading model", CloudModelRefused),)
    body = string("Loading model")
    assert type(classify(reply(500, body), rules)) is CloudModelRefused
    assert type(classify(reply(500, body), ())) is ModelNotLoaded
    assert type(classify(reply(500, string("Loading")), rules)) is ServiceError


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"error": OVERFLOW}).encode(),
        string(json.dumps({"error": OVERFLOW})),
        string(f"Engine said: {json.dumps({'error': OVERFLOW})}"),
        native(json.dumps({"error": OVERFLOW})),
        string(json.dumps({"error": json.dumps({"error": OVERFLOW})})),
    ],
    ids=["object", "string", "inside of a string", "in the message", "twice"],
)
def test_the_lengths_are_read_however_deep_they_are_wrapped(body: bytes) -> None:
    error = classify(reply(400, body), ())
    assert isinstance(error, ContextLengthExceeded)
    assert (error.prompt_tokens, error.context_tokens) == (9412, 8192)
    assert "(9412 tokens)" in error.message
    assert "Shorten the prompt" in str(error)


@pytest.mark.parametrize("number", ['"9"', "true", "null", "1.5", "[]"])
def test_a_length_that_is_no_number_is_unknown(number: str) -> None:
    body = f'{{"error":{{"message":"n_keep","n_prompt_tokens":{number},"n_ctx":8}}}}'.encode()
    error = classify(reply(400, body), ())
    assert isinstance(error, ContextLengthExceeded)
    assert (error.prompt_tokens, error.context_tokens) == (None, 8)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", Fault()),
        (b"  plain text\n", Fault(text="plain text")),
        (b'"a string"', Fault(text="a string")),
        (b'{"message":"m","type":"t","code":"c"}', Fault(text="m", kind="t c")),
        (b'{"error":"","message":"m"}', Fault(text="m")),
        (b'{"error":{"message":7,"type":null,"code":503}}', Fault(kind="503")),
        (b'{"error":["x"]}', Fault()),
        (b"null", Fault()),
        (b"\xff\xfe", Fault(text="\ufffd\ufffd")),
        (b'{"error":"\xff"}', Fault(text='{"error":"\ufffd"}')),
        (string('see {"error": nothing'), Fault(text='see {"error": nothing')),
        (string('{"error"' + "[" * 50_000), Fault(text=clean('{"error"' + "[" * 50_000))),
        (b"[" * 50_000, Fault(text=clean("[" * 2000))),
    ],
)
def test_an_error_is_found_in_any_body(body: bytes, expected: Fault) -> None:
    assert read_fault(body) == expected


@pytest.mark.parametrize(
    "page", [b"<html><b>502</b></html>", b"\n <!DOCTYPE html>", b"<?xml version='1.0'?><Error/>"]
)
def test_a_page_is_never_copied(page: bytes) -> None:
    error = classify(reply(502, page), ())
    assert error.message == "The server failed: HTTP 502."


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b'{"error":"x"}', True),
        (b'{"error":{}}', True),
        (b'{"error":null}', False),
        (b'{"data":[]}', False),
        (b'["error"]', False),
        (b"error", False),
        (b'"\xff"', False),
        (b"[" * 50_000, False),
    ],
)
def test_a_good_status_does_not_hide_an_error(body: bytes, *, fault: bool) -> None:
    assert is_fault(body) is fault


KEYS = [
    "Authorization: Bearer hunter2-hunter2",
    "bearer\thunter2",
    "Incorrect API key provided: hunter2.",
    "Malformed LM Studio API token provided: hunter2***",
    "wrong key sk-hunter2",
    "wrong key sk-lm-hunter2:abc",
    "wrong key SK-HUNTER2",
]


@pytest.mark.parametrize("text", KEYS)
@pytest.mark.parametrize("status", [400, 401, 500])
def test_a_key_never_comes_back(text: str, status: int) -> None:
    nested = string(json.dumps({"error": {"message": text}}))
    for body in (string(text), native(text), nested, text.encode()):
        error = classify(reply(status, body), ())
        assert "hunter2" not in str(error).lower()
        assert "***" in str(error)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[31mred\x1b[0m", "[31mred [0m"),
        ("a\r\nb\tc\x00", "a b c"),
        ("a\x85b\x9bc\x7fd", "a b c d"),
        ("left\u202eright\u2066\u200f", "left right"),
        ("ü 漢字", "ü 漢字"),
        ("x" * 500, "x" * 500),
        ("x" * 501, "x" * 499 + "…"),
    ],
)
def test_a_servers_text_fits_on_one_line(text: str, expected: str) -> None:
    assert clean(text) == expected


def test_braces_in_a_servers_text_stay_as_they_are() -> None:
    assert "{said} {0}" in classify(reply(500, string("{said} {0}")), ()).message


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3", 3.0),
        (" 0 ", 0.0),
        ("10", 10.0),
        ("3600", 10.0),
        ("999999999", 10.0),
        ("9999999999", 10.0),
        ("9" * 20, 10.0),
        ("9" * 21, None),
        ("-1", None),
        ("1.5", None),
        ("٣", None),
        ("soon", None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
        ("", None),
    ],
)
def test_the_wait_is_in_seconds_and_never_long(text: str, seconds: float | None) -> None:
    busy = reply(503, b"", retry_after=text)
    assert retry_after(busy) == seconds
    assert classify(busy, ()).retry_after == seconds
    assert retry_after(reply(503)) is None


@pytest.mark.parametrize(
    ("until", "since", "seconds"),
    [
        ("Wed, 21 Oct 2026 07:28:07 GMT", "Wed, 21 Oct 2026 07:28:00 GMT", 7.0),
        ("Wed, 21 Oct 2026 07:28:00 GMT", "Wed, 21 Oct 2026 07:28:07 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", "Wed, 21 Oct 2026 07:28:07 GMT", 10.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", "Wed, 21 Oct 2026 07:28:07 GMT", 0.0),
        ("Wed, 31 Feb 2026 07:28:00 GMT", "Wed, 21 Oct 2026 07:28:07 GMT", None),
        ("Wed, 21 Foo 2026 07:28:00 GMT", "Wed, 21 Oct 2026 07:28:07 GMT", None),
        ("Wed, 21 Oct 0000 07:28:00 GMT", "Wed, 21 Oct 2026 07:28:07 GMT", None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", "", None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", "today", None),
    ],
)
def test_a_wait_until_a_date_counts_from_the_date_of_the_reply(
    until: str, since: str, seconds: float | None
) -> None:
    busy = HTTPReply(status=503, headers={"retry-after": until, "date": since}, body=b"")
    assert retry_after(busy) == seconds


def test_what_to_do_next_is_said_where_it_is_known() -> None:
    hints = {
        404: "Is something else listening there? See: patinox doctor",
        401: "Set the key for this address; see: patinox doctor",
        429: "Try again in a moment.",
    }
    for status, hint in hints.items():
        assert str(classify(reply(status), ())).endswith(f" {hint}")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["error", "message", "type", "code", "n_ctx"]), inner)
    ),
    max_leaves=6,
)


@settings(max_examples=150)
@given(
    st.binary(max_size=40) | JSON.map(json.dumps).map(str.encode),
    st.sampled_from([200, 302, 400, 404, 500, 599, 999]),
    st.sampled_from([OLLAMA, LMSTUDIO, LLAMACPP]),
)
def test_any_body_gives_an_error_on_one_line(body: bytes, status: int, dialect: Dialect) -> None:
    error = dialect.classify(reply(status, body))
    assert error.status == status
    assert len(error.message) < 2 * MAX_TEXT
    assert not any(character < " " for character in str(error))


@pytest.mark.parametrize("dialect", [OLLAMA, LMSTUDIO, LLAMACPP], ids=["ollama", "lms", "llama"])
@pytest.mark.parametrize("said", ["model ", "bearer ", 'option "', "exceeds the "])
def test_a_huge_error_is_understood_at_once(dialect: Dialect, said: str) -> None:
    huge = said * (400_000 // len(said))
    bodies = [native("x", code=huge, type=huge), native(huge), string(huge), huge.encode()]
    for body in bodies:
        started = time.process_time()  # of this process only: the machine may be under load
        error = dialect.classify(reply(500, body))
        assert time.process_time() - started < 0.1
        assert len(error.message) < 2 * MAX_TEXT


@pytest.mark.parametrize("depth", [1, 900, 950, 990, 5000])
@pytest.mark.parametrize("field", ["type", "code"])
def test_a_kind_that_is_no_word_and_no_number_is_passed_over(depth: int, field: str) -> None:
    body = f'{{"error":{{"message":"x","{field}":{"[" * depth}{"]" * depth}}}}}'
    error = OLLAMA.classify(reply(500, body.encode()))
    assert type(error) is ServiceError


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("a", "a"),
        (400, "400"),
        (True, ""),
        (1.5, ""),
        (-1, ""),
        (10**400, ""),
        ({}, ""),
        (None, ""),
    ],
)
def test_a_kind_is_a_word_or_a_number(value: object, kind: str) -> None:
    assert read_fault(native("x", code=value)).kind == kind


@pytest.mark.parametrize("length", [-1, 2**63, 1.5, "8192", None, True])
def test_a_length_that_cannot_be_is_unknown(length: object) -> None:
    assert read_fault(native("x", n_ctx=length)).context_tokens is None


def test_a_length_may_be_zero() -> None:
    assert read_fault(native("x", n_ctx=0)).context_tokens == 0


def wrapped(times: int) -> str:
    """Put an error into a string of an error, so many times; it grows little with each."""
    text = '{"error":"boom"}'
    for _ in range(times):
        inner = text.replace("\\", "\\u005c").replace('"', "\\u0022")
        text = f'{{"error":"{inner}"}}'
    return text


@pytest.mark.parametrize("times", [1, 8, 9, 300, 600])
def test_an_error_may_be_wrapped_however_often(times: int) -> None:
    error = OLLAMA.classify(reply(500, wrapped(times).encode()))
    assert type(error) is ServiceError
    assert ("boom." in error.message) == (times < 9)
    assert len(error.message) < 2 * MAX_TEXT


PROMPT = 'My "secret" is\nthat I äöü like C:\\temp.'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"cannot parse: {clean(PROMPT)} Sorry", "cannot parse: …. Sorry"),
        ('cannot parse: My "secret" is that I ä…', "cannot parse: ……"),
        ("not here: secret is that I äöü like, here", "not here: …, here"),
        (f"bad: {json.dumps(PROMPT)}", 'bad: "…."'),
        (f"bad: {json.dumps(json.dumps(PROMPT, ensure_ascii=False))}", 'bad: "\\"….\\""'),
        ('My "secret" is that you: My "secret" is that I äöü', 'My "secret" is that you: …'),
        ("bad token key-12, not key-13", "bad token ***, not key-13"),
        ("short one", "short one"),
    ],
    ids=["line", "cut", "middle", "JSON", "JSON in JSON", "other", "key", "short"],
)
def test_what_was_said_is_taken_out_of_what_the_server_says(text: str, expected: str) -> None:
    assert discreet(text, key="key-12", said=["short", PROMPT]) == expected


@pytest.mark.parametrize(
    ("said", "echoed"),
    [("abcdefghijklmnop", True), ("abcdefgh ijklmnop", True), ("abcdefghijklmno", False)],
)
def test_sixteen_letters_in_a_row_are_no_coincidence(said: str, *, echoed: bool) -> None:
    text = f"{said}, {said}!"
    assert discreet(text, key="", said=[said]) == ("…, …!" if echoed else text)


def test_without_a_key_and_words_a_text_stays_as_it_is() -> None:
    assert discreet("The server failed.", key="", said=["", "The server"]) == "The server failed."
