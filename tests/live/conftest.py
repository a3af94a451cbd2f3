"""Real servers, where the environment says that there are some.

`PATINOX_LIVE_OLLAMA` and `PATINOX_LIVE_LMSTUDIO` are their addresses, `PATINOX_LIVE_MODEL` is a
model that chats on each of them. Each of the others, where it is set, is a model that can do
something (see `Subject`): `PATINOX_LIVE_EMBEDDER`, `_ONLY_CHATS`, `_CALLER`, `_COMPLETER` and
`_PROBER`:

    ollama pull qwen2.5:0.5b
    PATINOX_LIVE_OLLAMA=127.0.0.1:11434 PATINOX_LIVE_MODEL=qwen2.5:0.5b pytest tests/live
"""

import importlib
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from patinox.provider.local.config import DiscoveryConfig, EndpointConfig, LocalProviderConfig

pytest.register_assert_rewrite("behaviours", "beyond_text", "by_feature")
sys.path.insert(0, str(Path(__file__).parent.parent / "conformance"))
behaviours: Any = importlib.import_module("behaviours")
beyond_text: Any = importlib.import_module("beyond_text")
by_feature: Any = importlib.import_module("by_feature")
sys.path.pop(0)

ADDRESSES = {"ollama": "PATINOX_LIVE_OLLAMA", "lmstudio": "PATINOX_LIVE_LMSTUDIO"}
# Read now: while a test runs, the environment is hidden from it.
LIVE = {name: os.environ[name] for name in os.environ if name.startswith("PATINOX_LIVE_")}


@pytest.fixture(params=list(ADDRESSES))
def subject(request: pytest.FixtureRequest) -> Any:  # noqa: ANN401
    kind: str = request.param
    for name in (ADDRESSES[kind], "PATINOX_LIVE_MODEL"):
        if name not in LIVE:
            pytest.skip(f"{name} is not set")
    return behaviours.Subject(
        kind=kind,
        config=LocalProviderConfig(
            discovery_config=DiscoveryConfig(enabled_services=tuple(ADDRESSES)),
            endpoints=(EndpointConfig.parse(LIVE[ADDRESSES[kind]], service=kind),),
            auto_discover=False,
        ),
        model=LIVE["PATINOX_LIVE_MODEL"],
        embedder=LIVE.get("PATINOX_LIVE_EMBEDDER"),
        # Which of the two a server refuses depends on its version (Ollama: since 0.30).
        only_chats=LIVE.get("PATINOX_LIVE_ONLY_CHATS"),
        only_embeds=LIVE.get("PATINOX_LIVE_EMBEDDER"),
        callers=tuple(filter(None, [LIVE.get("PATINOX_LIVE_CALLER")])),
        completer=LIVE.get("PATINOX_LIVE_COMPLETER"),
        prober=LIVE.get("PATINOX_LIVE_PROBER"),
    )


@pytest.fixture(
    params=behaviours.BEHAVIOURS + beyond_text.BEHAVIOURS + by_feature.BEHAVIOURS,
    ids=lambda behaviour: str(behaviour.__name__),
)
def behaviour(request: pytest.FixtureRequest) -> Any:  # noqa: ANN401
    return request.param
