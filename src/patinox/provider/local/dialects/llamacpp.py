"""What is particular about llama.cpp's server, which the engine inside is too.

https://github.com/ggml-org/llama.cpp/tree/master/tools/server
"""

from __future__ import annotations

from patinox.provider.errors import AuthenticationError, InvalidRequest
from patinox.provider.local.dialects.faults import Rule
from patinox.provider.local.dialects.openai import OpenAIDialect
from patinox.provider.local.errors import ModelNotFound

RULES: tuple[Rule, ...] = (
    (r"authentication_error", AuthenticationError),
    (r"model '.*' not found|model is not (found|loaded)", ModelNotFound),
    # Statuses 500 that are the caller's fault.
    (r"failed to parse (tool|grammar)|unsupported content|invalid_request_error", InvalidRequest),
)

LLAMACPP = OpenAIDialect(rules=RULES, base64_embeddings=True)
