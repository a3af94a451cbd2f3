"""Faults of section E: something else is listening than one thinks."""

from __future__ import annotations

import json

from patinox.testing.exchange import Exchange
from patinox.testing.faults.fault import Catalogue
from patinox.testing.server import EmulatedServer

IDENTITY = Catalogue("E")

_PAGE = b"<!DOCTYPE html><title>Welcome to nginx!</title><h1>Welcome to nginx!</h1>"


def _other(server: EmulatedServer) -> EmulatedServer:
    # Only where they are used: an emulator has to be able to import the faults.
    from patinox.testing.lmstudio import LMStudioEmulator  # noqa: PLC0415
    from patinox.testing.ollama import OllamaEmulator  # noqa: PLC0415

    return LMStudioEmulator() if server.name == "ollama" else OllamaEmulator()


@IDENTITY.request(99, 111)
async def swap_kind(exchange: Exchange) -> None:
    """Another kind of server has taken the port: LM Studio Ollama's, Ollama any other's."""
    await _other(exchange.server).handle(exchange)


@IDENTITY.request(102)
async def web_server(exchange: Exchange) -> None:
    """A web server: a page at the root, and nothing else."""
    if exchange.path == "/":
        await exchange.reply(200, _PAGE, content_type="text/html")
    else:
        await exchange.reply(404, b"<h1>404 Not Found</h1>", content_type="text/html")


@IDENTITY.request(103)
async def yes_server(exchange: Exchange) -> None:
    """A mock that says `{}` to everything."""
    await exchange.reply(200, b"{}")


@IDENTITY.request(106, 107, 158, 161)
async def echo_server(exchange: Exchange) -> None:
    """A debugging proxy that sends back all it was sent, keys and prompts among it."""
    said = {
        "error": f"{exchange.method} {exchange.path} {json.dumps(dict(exchange.headers))} "
        + exchange.body.decode("utf-8", "replace")
    }
    await exchange.reply(500, json.dumps(said).encode())
