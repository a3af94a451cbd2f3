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


def early_status(method: str, headers: Mapping[str, str]) -> int | None:
    """Return the status of a request that is refused or a preflight; `None` for any other."""
    origin, host = _foreign_origin(headers), headers.get("host", "")
    preflight = method == "OPTIONS"
    if origin and not _is_allowed(origin):
        return 403
    if origin and preflight:
        return 204
    if _is_local_address(host):
        return None
    if not _is_local_name(host):
        return 403
    return 204 if preflight else None


def cors_headers(method: str, headers: Mapping[str, str]) -> dict[str, str]:
    """Return what the browser of an allowed origin is told."""
    origin = _foreign_origin(headers)
    if not origin or not _is_allowed(origin):
        return {}
    more = _PREFLIGHT if method == "OPTIONS" else {"Vary": "Origin"}
    return {"Access-Control-Allow-Origin": origin, **more}


def _foreign_origin(headers: Mapping[str, str]) -> str:
    origin, host = headers.get("origin", ""), headers.get("host", "")
    return "" if origin in {f"http://{host}", f"https://{host}"} else origin


def _is_allowed(origin: str) -> bool:
    parts = urlsplit(origin)
    if parts.scheme in {"http", "https"}:
        return parts.hostname in _LOCAL_ORIGINS
    return parts.scheme in _APP_SCHEMES


def _is_local_address(host: str) -> bool:
    try:
        address = ip_address(_name(host))
    except ValueError:
        return False
    return address.is_loopback or address.is_private or address.is_unspecified


def _is_local_name(host: str) -> bool:
    name = _name(host)
    return name in {"", "localhost"} or name.endswith(_LOCAL_DOMAINS)


def _name(host: str) -> str:
    return (urlsplit(f"//{host}").hostname or "").lower()
