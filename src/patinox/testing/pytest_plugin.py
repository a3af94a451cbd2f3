"""Fixtures for pytest, found through the entry point `pytest11`.

Each emulator runs in a thread of its own, so that blocking and async tests can use it alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from patinox.testing.llamacpp import LlamaCppEmulator
    from patinox.testing.lmstudio import LMStudioEmulator
    from patinox.testing.ollama import OllamaEmulator


@pytest.fixture
def ollama_emulator() -> Iterator[OllamaEmulator]:
    """Give a running `OllamaEmulator` with its default models."""
    from patinox.testing.ollama import OllamaEmulator  # noqa: PLC0415 - only where it is used

    with OllamaEmulator().run_in_thread() as emulator:
        yield emulator


@pytest.fixture
def lmstudio_emulator() -> Iterator[LMStudioEmulator]:
    """Give a running `LMStudioEmulator` with its default models."""
    from patinox.testing.lmstudio import LMStudioEmulator  # noqa: PLC0415 - only where it is used

    with LMStudioEmulator().run_in_thread() as emulator:
        yield emulator


@pytest.fixture
def llamacpp_emulator() -> Iterator[LlamaCppEmulator]:
    """Give a running `LlamaCppEmulator`, a router of its default models."""
    from patinox.testing.llamacpp import LlamaCppEmulator  # noqa: PLC0415 - only where it is used

    with LlamaCppEmulator().run_in_thread() as emulator:
        yield emulator
