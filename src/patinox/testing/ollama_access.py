"""Who may talk to an Ollama bound to the loopback: its checks of `Host` and `Origin`."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

_LOCAL_DOMAINS = (".localhost", ".local", ".internal")
_LOCAL_ORIGINS = {"localhost", "127.0.0.1", "0.0.0.0"}  # noqa: S104 - names in a header
_APP_SCHEMES = {
    "app",
    "file",
    "tauri",
    "vscode-webview",
    "vscode-file",
    "chrome-extension",
    "safari-extension",
    "moz-extension",
    "ms-browser-extension",
}
PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS",
    "Access-Control-Max-Age": "43200",
}


def is_refused(headers: Mapping[str, str]) -> bool:
    """Whether Ollama answers 403 to a request with these headers."""
    host, origin = headers.get("host", ""), headers.get("origin", "")
    own = urlsplit(origin).netloc == host
    return not _is_local(host) or not (not origin or own or _is_allowed(origin))


def is_preflight(method: str, headers: Mapping[str, str]) -> bool:
    """Whether a request is a browser's question before the real one."""
    return method == "OPTIONS" and "origin" in headers


def _is_local(host: str) -> bool:
    name = (urlsplit(f"//{host}").hostname or "").lower()
    try:
        address = ip_address(name)
    except ValueError:
        return name in {"", "localhost"} or name.endswith(_LOCAL_DOMAINS)
    return address.is_loopback or address.is_private or address.is_unspecified


def _is_allowed(origin: str) -> bool:
    parts = urlsplit(origin)
    if parts.scheme in {"http", "https"}:
        return parts.hostname in _LOCAL_ORIGINS
    return parts.scheme in _APP_SCHEMES
