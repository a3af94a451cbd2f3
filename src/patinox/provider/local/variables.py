"""The environment variables: what each one sets and how it is read.

One table, from which configuration, the documentation and `patinox doctor` are made. Where several
variables set one thing the first of them in the table wins.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from patinox.provider.config import KINDS
from patinox.provider.errors import InvalidRequest
from patinox.provider.local.config import EndpointConfig, ServiceConfig
from patinox.provider.local.configfile import expand_home
from patinox.provider.local.errors import InvalidConfiguration
from patinox.provider.local.types import LocalService
from patinox.provider.secret import Secret
from patinox.provider.types import ModelId

Environ = Mapping[str, str]
Read = Callable[[str, str, Environ], object]

FLAGS = {
    **dict.fromkeys(("true", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
}
LONGEST = 86_400  # seconds: a day
ADDRESS = "`host`, `host:port`, `http(s)://host:port/path`"


class Variable(msgspec.Struct, frozen=True, kw_only=True):
    """One environment variable.

    Attributes:
        name: how it is spelt.
        sets: the key of the configuration file that it stands for.
        read: makes the value from the variable's name, its text and the environment.
        allowed: the values it may have, for people.
        description: what it is for, for people.
        adds: it adds to `sets`, so that no other variable overrules it.
        secret: its value is never shown.
        needs: it is used only if this key is configured.
        cloud: it is used only if this provider is chosen.
        beside: it is read only together with this variable, by that one.
    """

    name: str
    sets: str
    read: Read
    allowed: str
    description: str
    adds: bool = False
    secret: bool = False
    needs: str | None = None
    cloud: str | None = None
    beside: str | None = None


def _wrong(name: str, text: str, allowed: str) -> InvalidConfiguration:
    return InvalidConfiguration(f"{name} is {text!r}; allowed: {allowed}.")


def _text(_name: str, text: str, _environ: Environ) -> str:
    return text


def _flag(name: str, text: str, _environ: Environ) -> bool:
    if text.lower() not in FLAGS:
        raise _wrong(name, text, ", ".join(FLAGS))
    return FLAGS[text.lower()]


def _one_of(*allowed: str) -> Read:
    def read(name: str, text: str, _environ: Environ) -> str:
        if text.lower() not in allowed:
            raise _wrong(name, text, ", ".join(allowed))
        return text.lower()

    return read


def _seconds(name: str, text: str, _environ: Environ) -> float:
    number = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*s?", text)
    seconds = float(number[1]) if number else 0.0
    if not 0 < seconds <= LONGEST:
        raise _wrong(name, text, f"seconds above 0 to {LONGEST}, such as `30` or `30s`")
    return seconds


def _key(name: str, text: str, _environ: Environ) -> Secret:
    try:
        ServiceConfig(api_key=Secret(text))
    except InvalidConfiguration as error:
        raise InvalidConfiguration(f"{name}: {error.message}", hint=error.hint) from None
    return Secret(text)


def _model(name: str, text: str, _environ: Environ) -> str:
    try:
        return str(ModelId.parse(text))
    except InvalidRequest:
        raise _wrong(name, text, "`model` or `service::model`") from None


def _path(_name: str, text: str, environ: Environ) -> Path:
    return Path(expand_home(text, environ))


def _paths(_name: str, text: str, environ: Environ) -> tuple[Path, ...]:
    parts = (part.strip() for part in text.split(os.pathsep))
    return tuple(Path(expand_home(part, environ)) for part in parts if part)


def _address(service: str | None) -> Read:
    def read(name: str, text: str, _environ: Environ) -> EndpointConfig:
        return EndpointConfig.parse(text, service=service, setting=name)

    return read


def _llama_port(name: str, text: str, environ: Environ) -> object:
    host = environ.get("LLAMA_ARG_HOST", "").strip()
    host = f"[{host}]" if ":" in host else host
    return _address("llamacpp")(name, f"{host}:{text}", environ)


def _cloud(kind: str, label: str) -> tuple[Variable, Variable]:
    key = Variable(
        name=f"{kind.upper()}_API_KEY",
        sets=f"provider.{kind}.api_key",
        cloud=kind,
        read=_key,
        secret=True,
        allowed="a key",
        description=f"Key for {label}; alone it selects nothing. Cloud providers are not offered.",
    )
    base_url = Variable(
        name=f"PATINOX_{kind.upper()}_BASE_URL",
        sets=f"provider.{kind}.base_url",
        cloud=kind,
        read=_text,
        allowed="a URL",
        description=f"Address of {label}. Cloud providers are not offered.",
    )
    return key, base_url


def endpoint_variable(name: str, service: str) -> Variable:
    """Make the variable that gives the address of a further kind of service."""
    return Variable(
        name=name,
        sets="endpoints",
        adds=True,
        read=_address(service),
        allowed=ADDRESS,
        description=f"Address of {service}.",
    )


VARIABLES: tuple[Variable, ...] = (
    Variable(
        name="PATINOX_CONFIG",
        sets="",
        read=_text,
        allowed="a file",
        description="The configuration file; without it `patinox.toml` in the user's folder.",
    ),
    Variable(
        name="OLLAMA_ENDPOINT",
        sets="ollama.endpoint",
        read=_address("ollama"),
        allowed=ADDRESS,
        description="Address of Ollama.",
    ),
    Variable(
        name="OLLAMA_HOST",
        sets="ollama.endpoint",
        read=_address("ollama"),
        allowed=f"{ADDRESS}, `:port`; `0.0.0.0` is this machine",
        description="Address of Ollama, as Ollama itself reads it.",
    ),
    Variable(
        name="LMSTUDIO_ENDPOINT",
        sets="lmstudio.endpoint",
        read=_address("lmstudio"),
        allowed=ADDRESS,
        description="Address of LM Studio.",
    ),
    Variable(
        name="LLAMACPP_ENDPOINT",
        sets="llamacpp.endpoint",
        read=_address("llamacpp"),
        allowed=ADDRESS,
        description="Address of llama.cpp's server.",
    ),
    Variable(
        name="LLAMA_ARG_PORT",
        sets="llamacpp.endpoint",
        read=_llama_port,
        allowed="1 to 65535",
        description="Port of llama.cpp's server, as that server reads it.",
    ),
    Variable(
        name="LLAMA_ARG_HOST",
        sets="llamacpp.endpoint",
        read=_text,
        beside="LLAMA_ARG_PORT",
        allowed="a host",
        description="Host of llama.cpp's server, read together with LLAMA_ARG_PORT.",
    ),
    Variable(
        name="LOCAL_ENDPOINT",
        sets="endpoints",
        adds=True,
        read=_address(None),
        allowed=ADDRESS,
        description="Address of one more server of any kind; it is asked what it is.",
    ),
    Variable(
        name="OLLAMA_API_KEY",
        sets="ollama.api_key",
        read=_key,
        secret=True,
        needs="ollama.endpoint",
        allowed="a key",
        description="Key for a configured Ollama address; it never selects Ollama's cloud.",
    ),
    *(
        Variable(
            name=name,
            sets="lmstudio.api_key",
            read=_key,
            secret=True,
            allowed="a key",
            description="Key for LM Studio.",
        )
        for name in ("LM_API_TOKEN", "LMSTUDIO_API_TOKEN", "LM_API_KEY", "LMSTUDIO_API_KEY")
    ),
    Variable(
        name="LLAMA_API_KEY",
        sets="llamacpp.api_key",
        read=_key,
        secret=True,
        allowed="a key",
        description="Key for llama.cpp's server, as that server reads it.",
    ),
    Variable(
        name="LOCAL_MODELS_PATH",
        sets="model_paths",
        read=_paths,
        allowed=f"files and folders, joined by `{os.pathsep}`",
        description="Where GGUF models for the engine inside are.",
    ),
    Variable(
        name="LMSTUDIO_MODELS_PATH",
        sets="model_paths",
        adds=True,
        read=_paths,
        allowed=f"files and folders, joined by `{os.pathsep}`",
        description="Where LM Studio keeps its models: further ones for the engine inside.",
    ),
    Variable(
        name="OLLAMA_MODELS_PATH",
        sets="embedded.ollama_models",
        read=_path,
        allowed="a folder",
        description="Where Ollama keeps its models: further ones for the engine inside.",
    ),
    Variable(
        name="OLLAMA_MODELS",
        sets="embedded.ollama_models",
        read=_path,
        allowed="a folder",
        description="Where Ollama keeps its models, as Ollama itself reads it.",
    ),
    Variable(
        name="LOCAL_PROVIDER_PREFERENCE",
        sets="preferred_service",
        read=_one_of(*LocalService),
        allowed=", ".join(LocalService),
        description="Which service to prefer where several have a model.",
    ),
    Variable(
        name="LOCAL_AUTO_DISCOVER",
        sets="auto_discover",
        read=_flag,
        allowed=", ".join(FLAGS),
        description="Whether to look at the usual addresses of services.",
    ),
    Variable(
        name="PATINOX_MODEL_PROVIDER",
        sets="provider.default",
        read=_one_of(*KINDS),
        allowed=", ".join(KINDS),
        description="The provider to use, whatever addresses are set.",
    ),
    Variable(
        name="PATINOX_MODEL_DEFAULT",
        sets="default_model",
        read=_model,
        allowed="`model` or `service::model`",
        description="The model to use where none is named.",
    ),
    Variable(
        name="PATINOX_MODEL_TIMEOUT",
        sets="provider.timeout",
        read=_seconds,
        allowed="seconds, with or without `s`",
        description="How long a whole call may take.",
    ),
    Variable(
        name="PATINOX_CONTINUATION",
        sets="continuation",
        read=_flag,
        allowed=", ".join(FLAGS),
        description="Whether answers that broke off are gone on with, where that is exact.",
    ),
    Variable(
        name="PATINOX_ALLOW_CLOUD",
        sets="allow_cloud",
        read=_flag,
        allowed=", ".join(FLAGS),
        description="Whether models that run in the cloud may be used.",
    ),
    *_cloud("openai", "OpenAI"),
    *_cloud("openrouter", "OpenRouter"),
    *_cloud("anthropic", "Anthropic"),
)
