"""Who may talk to an Ollama bound to the loopback: its checks of `Host` and `Origin`."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

_LOCAL_DOMAINS = (".localhost", ".local", ".internal")
_LOCAL_ORIGINS = {"localhost", "127.0.0.1", "0.0.0.0"}  # noqa: S104 - names in a header
_APP_SCHEMES = {"app", "file", "tauri", "vscode-webview", "vscode-file"}
_SDK_HEADERS = (
    "Arch,Async,Custom-Poll-Interval,Helper-Method,Lang,Os,Package-Version,Poll-Helper,"
    "Retry-Count,Runtime,Runtime-Version,Timeout"
)
_ALLOWED_HEADERS = (
    *["Authorization", "Content-Type", "User-Agent", "Accept", "X-Requested-With", "Openai-Beta"],
    *(f"X-Stainless-{name}" for name in _SDK_HEADERS.split(",")),
)
_PREFLIGHT = {
    "Access-Control-Allow-Headers": ",".join(_ALLOWED_HEADERS),
    "Access-Control-Allow-Methods": "GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS",
    "Access-Control-Max-Age": "43200",
    "Vary": "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
}


def foreign_origin(headers: Mapping[str, str]) -> str:
    """Return the `Origin` of a request from another site than the server's own, or nothing."""
    origin, host = headers.get("origin", ""), headers.get("host", "")
    return "" if origin in {f"http://{host}", f"https://{host}"} else origin


def cors_headers(origin: str, *, preflight: bool) -> dict[str, str]:
    """Return what a browser is told of an allowed origin."""
    return {
        "Access-Control-Allow-Origin": origin,
        **(_PREFLIGHT if preflight else {"Vary": "Origin"}),
    }


def is_local(host: str) -> bool:
    """Whether a `Host` names this machine or its network."""
    name = (urlsplit(f"//{host}").hostname or "").lower()
    try:
        address = ip_address(name)
    except ValueError:
        return name in {"", "localhost"} or name.endswith(_LOCAL_DOMAINS)
    return address.is_loopback or address.is_private or address.is_unspecified


def is_allowed(origin: str) -> bool:
    """Whether pages of this origin may talk to the server; extensions of a browser may not."""
    parts = urlsplit(origin)
    if parts.scheme in {"http", "https"}:
        return parts.hostname in _LOCAL_ORIGINS
    return parts.scheme in _APP_SCHEMES
