"""What the emulated LM Studio says when it refuses: status and body of each case.

Two shapes, as on the real one: `{"error": "text"}`, and an object with any of `message`, `type`,
`param` and `code`. https://lmstudio.ai/docs/developer/rest/chat lists the native error types.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from patinox.testing.lmstudio.models import LMStudioModel

MODEL_CRASHED = "The model has crashed without additional information. (Exit code: null)"
NO_IMAGES = "Model does not support images. Please use a model that does."
_AUTH_PAGE = "Learn more at: https://lmstudio.ai/docs/developer/core/authentication."


class Refused(Exception):
    """The request is answered with `status` and `error`; `error` is a text or an object."""

    def __init__(self, status: int, error: str | dict[str, object]) -> None:
        super().__init__(status)
        self.status = status
        self.error = error


def unexpected_endpoint(method: str, target: str, *, status: int) -> Refused:
    """No such path, or not with this method; the status is 200."""
    return Refused(status, f"Unexpected endpoint or method. ({method} {target})")


def token_missing() -> Refused:
    """Authentication is on and no token came."""
    return _unauthorized(
        "An LM Studio API token is required to make requests to this server, but none was provided"
        " using the Authorization header using the 'Bearer' scheme"
        f" (i.e., 'Authorization: Bearer $LM_API_TOKEN'). {_AUTH_PAGE}"
    )


def token_wrong(token: str) -> Refused:
    """The token is not the one asked for; the message quotes its start, as the real one does."""
    return _unauthorized(f"Malformed LM Studio API token provided: {token[:10]}***. {_AUTH_PAGE}")


def _unauthorized(message: str) -> Refused:
    error = {"type": "invalid_request", "code": "invalid_api_key", "message": message}
    return Refused(401, {**error})


def field_required(name: str) -> Refused:
    """An OpenAI route misses a field."""
    return Refused(400, f"'{name}' field is required")


def tool_choice_type(kind: str) -> Refused:
    """`tool_choice` names a function, which only OpenAI understands."""
    allowed = "Supported string values: none, auto, required"
    return Refused(400, f"Invalid tool_choice type: '{kind}'. {allowed}")


def response_format_type() -> Refused:
    """`response_format` is `json_object`, or something unknown."""
    return Refused(400, "'response_format.type' must be 'json_schema' or 'text'")


def image_url() -> Refused:
    """The image is no PNG or JPEG in a data URL."""
    return Refused(400, "'url' field must be a base64 encoded image.")


def model_error(message: str, *, code: str | None = None, status: int = 400) -> Refused:
    """An OpenAI route cannot give the model."""
    error = {"message": message, "type": "invalid_request_error", "param": "model", "code": code}
    return Refused(status, {**error})


def unknown_model(name: str, models: Iterable[LMStudioModel]) -> Refused:
    """No such model, on an OpenAI route of 0.4."""
    examples = ", ".join(example for model in models for example in (model.variant, model.key))
    return model_error(
        f'Invalid model identifier "{name}". Please specify a valid downloaded model'
        f" (e.g., {examples}).",
        code="model_not_found",
    )


def unknown_model_before_04(name: str, models: Iterable[LMStudioModel]) -> Refused:
    """No such model, on an OpenAI route of 0.3."""
    names = "\n".join(model.key for model in models)
    return model_error(
        f'Model "{name}" not found. Please specify a valid model.\n\nYour models:\n\n{names}',
        code="model_not_found",
        status=404,
    )


def no_models_loaded() -> Refused:
    """Nothing is loaded and nothing may be loaded for the request."""
    return model_error(
        "No models loaded. Please load a model in the developer page or use the 'lms load' command."
    )


def several_models_loaded() -> Refused:
    """The request names no model and more than one could be meant."""
    return model_error(
        "Multiple models are loaded. Please specify a model by providing a 'model' field in the"
        " request body.",
        code="model_not_found",
    )


def not_an_embedding_model(name: str) -> Refused:
    """The model makes text, not vectors."""
    return model_error(f'Model "{name}" is not an embedding model.')


def load_failed(name: str, reason: str) -> Refused:
    """The model that the request needs cannot be loaded, on an OpenAI route."""
    return model_error(load_failure(name, reason))


def load_failure(name: str, reason: str) -> str:
    """Return the sentence for a model that cannot be loaded."""
    return f'Failed to load model "{name}". Error: {reason}'


def responses_error(message: str, *, param: str, code: str) -> Refused:
    """`/v1/responses` refuses a parameter."""
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return Refused(400, {**error})


def native(
    status: int, message: str, *, kind: str = "invalid_request", code: str, param: str | None = None
) -> Refused:
    """A native route refuses, with the keys it has on most such errors."""
    error: dict[str, object] = {"message": message, "type": kind, "code": code}
    return Refused(status, error if param is None else {**error, "param": param})


def invalid_json(detail: str) -> Refused:
    """The body of a native request is not JSON."""
    message = f"Invalid body: failed to parse JSON value. {detail}"
    return native(400, message, code="invalid_json")


def unrecognized_keys(names: Sequence[str]) -> Refused:
    """A native request has keys that the route does not know."""
    return native(400, unrecognized(names), code="unrecognized_keys")


def unrecognized(names: Sequence[str]) -> str:
    """Return the sentence for unknown keys."""
    listed = ", ".join(f"'{name}'" for name in names)
    return f"Unrecognized key(s) in object: {listed}"


def parameter_missing(name: str) -> Refused:
    """A native request misses a key."""
    return native(400, f"'{name}' is required", code="missing_required_parameter", param=name)


def reasoning_setting(setting: str, model: LMStudioModel) -> Refused:
    """The model does not know this reasoning setting."""
    supported = ", ".join(f"'{option}'" for option in model.reasoning)
    return native(
        400,
        f"Reasoning setting '{setting}' is not supported by model '{model.key}'."
        f" Supported settings: {supported}.",
        code="invalid_value",
        param="reasoning",
    )


def plugin_denied(label: str) -> Refused:
    """Plugins and MCP servers are not permitted."""
    message = (
        f"Permission denied to use plugin '{label}'. Ensure that the server configuration allows"
        " plugin usage and, if using an API token, it has the necessary permissions."
    )
    error = {"type": "invalid_request", "param": "integrations", "code": None}
    return Refused(403, {"message": message, **error})


def native_unknown_model(name: str) -> Refused:
    """No such model, for the native chat."""
    message = f"Model {name} not found in downloaded models"
    return native(404, message, code="model_not_found", param="model")


def native_no_models() -> Refused:
    """Nothing that could chat is downloaded."""
    message = "There are no downloaded llm models."
    return native(404, message, code="model_not_found", param="model")


def not_downloaded(name: str) -> Refused:
    """No such model, for a native load."""
    message = f"Model {name} not found in downloaded models"
    return Refused(404, {"type": "model_not_found", "message": message})


def not_loaded(identifier: str) -> Refused:
    """No such instance, for a native unload."""
    message = f"Model with instance identifier '{identifier}' is not loaded."
    return Refused(404, {"type": "model_not_found", "message": message})


def unknown_job(identifier: str) -> Refused:
    """No such download."""
    message = f"Download job with id '{identifier}' not found."
    return Refused(404, {"type": "job_not_found", "message": message})


def internal(message: str) -> Refused:
    """The engine failed, on a native route or `/v1/responses`."""
    error = {"type": "internal_error", "code": "unknown", "param": None}
    return Refused(500, {"message": message, **error})


def overflow(dialect: str, prompt_tokens: int, context: int) -> str:
    """Return what the engine says about a prompt that is longer than the context.

    Dialect A is the classic engine, C the one that answers through the engine protocol.
    """
    if dialect == "A":
        return (
            "The number of tokens to keep from the initial prompt is greater than the context"
            f" length (n_keep: {prompt_tokens}>= n_ctx: {context}). Try to load the model with a"
            " larger context length, or provide a shorter input."
        )
    inner = {
        "code": 400,
        "message": f"request ({prompt_tokens} tokens) exceeds the available context size"
        f" ({context} tokens), try increasing it",
        "type": "exceed_context_size_error",
        "n_prompt_tokens": prompt_tokens,
        "n_ctx": context,
    }
    said = json.dumps({"error": inner}, separators=(",", ":"))
    return f"Engine protocol predict request returned 400: {said}"
