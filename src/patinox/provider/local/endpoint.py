"""Where a server listens: reading the ways in which people and programs write it.

The forms of `OLLAMA_HOST` are read as Ollama itself reads them, but for a wrong port, which is an
error here (https://docs.ollama.com/faq).

>>> str(parse_endpoint("", default_port=11434))
'http://127.0.0.1:11434'
>>> str(parse_endpoint("192.168.1.5", default_port=11434))
'http://192.168.1.5:11434'
>>> str(parse_endpoint("example.com:8000", default_port=11434))
'http://example.com:8000'
>>> str(parse_endpoint(":1234", default_port=11434))
'http://127.0.0.1:1234'
>>> str(parse_endpoint("http://example.com", default_port=11434))
'http://example.com:80'
>>> str(parse_endpoint("https://example.com/ollama/", default_port=11434))
'https://example.com:443/ollama'
>>> str(parse_endpoint("[::1]", default_port=11434)), str(parse_endpoint("::1", default_port=1))
('http://[::1]:11434', 'http://[::1]:1')
>>> str(parse_endpoint("0.0.0.0", default_port=11434)), str(parse_endpoint("[::]", default_port=80))
('http://127.0.0.1:11434', 'http://[::1]:80')
>>> str(parse_endpoint(" 'LOCALHOST:11434' ", default_port=1))
'http://localhost:11434'
>>> str(parse_endpoint("ollama.com", default_port=11434))
'https://ollama.com:443'
"""

from __future__ import annotations

import functools
import ipaddress
import re

import msgspec

from patinox.provider.checks import shown
from patinox.provider.local.errors import InvalidConfiguration

_SCHEMES = {"http": 80, "https": 443}
_WILDCARDS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  read, not bound
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?")
_PATH = re.compile(r"(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:-]|%[0-9A-Fa-f]{2})+)*/?")
_LABEL = 63  # characters of a part of a name
_MAX_PORT = 65535
_CLOUD = "ollama.com"


class Endpoint(msgspec.Struct, frozen=True, order=True):
    """A base address: `scheme://host:port/prefix`, the prefix without a slash at its end.

    Attributes:
        scheme: `http` or `https`.
        host: a name or an address.
        port: 1 to 65535.
        prefix: what stands before every path.
        address: where the name led when its server proved itself; empty: wherever it leads.
    """

    scheme: str
    host: str
    port: int
    prefix: str = ""
    address: str = ""

    @property
    def authority(self) -> str:
        """`host:port`, as people read it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether it is on this machine by its very address."""
        return _is_loopback(self.host)

    @property
    def is_name(self) -> bool:
        """Whether its host is a name, which may lead elsewhere tomorrow."""
        return _is_name(self.host)

    @property
    def anywhere(self) -> Endpoint:
        """The same, wherever its name leads."""
        return msgspec.structs.replace(self, address="") if self.address else self

    def __str__(self) -> str:
        """Return the URL."""
        return f"{self.scheme}://{self.authority}{self.prefix}"

    def addresses(self) -> tuple[Endpoint, ...]:
        """Return what to try: for `localhost` both families, else the endpoint itself."""
        if self.host != "localhost":
            return (self,)
        return tuple(msgspec.structs.replace(self, host=host) for host in ("127.0.0.1", "::1"))


@functools.lru_cache(maxsize=256)
def _is_loopback(host: str) -> bool:
    return host == "localhost" or (not _is_name(host) and ipaddress.ip_address(host).is_loopback)


@functools.lru_cache(maxsize=256)
def _is_name(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return True
    return False


def parse_endpoint(text: str, *, default_port: int, setting: str = "endpoint") -> Endpoint:
    """Read an address in any of the forms of the table above.

    Raises:
        InvalidConfiguration: it is none of them; the message names `setting` and never repeats a
            password or a query that the text may hold.
    """
    if not isinstance(text, str):
        msg = f"{setting} is {shown(text)}; allowed: host, host:port, or a URL, as text."
        raise InvalidConfiguration(msg)
    cleaned = text.strip().strip("\"'").strip()
    try:
        return _parse(cleaned, default_port)
    except ValueError as error:
        raise InvalidConfiguration(
            f"{setting} is {hide_secrets(cleaned)!r}: {error}.",
            hint="Allowed: host, host:port, or http(s)://host:port/path.",
        ) from None


def hide_secrets(text: str) -> str:
    """Return an address without what may be a key in it, for messages.

    >>> hide_secrets("https://me:secret@host/v1?key=secret")
    'https://***@host/v1?***'
    """
    scheme = re.match(r"(?:[A-Za-z][A-Za-z0-9+.-]*://)?", text)
    start = scheme.end() if scheme else 0
    _, at, rest = text[start:].rpartition("@")
    rest = re.sub(r"(?s)[?#].*", "?***", rest)
    return f"{text[:start]}***@{rest}" if at else text[:start] + rest


def _parse(text: str, default_port: int) -> Endpoint:
    before, separator, after = text.partition("://")
    scheme, rest = (before.lower(), after) if separator else ("", text)
    if scheme and scheme not in _SCHEMES:
        raise ValueError("it must start with http:// or https://")
    if "@" in rest:
        raise ValueError("keys do not belong in an address")
    if "?" in rest or "#" in rest:
        raise ValueError("it must not have a query or a fragment")
    netloc, slash, path = rest.partition("/")
    if path and not netloc:
        raise ValueError("its host is missing")
    if not _PATH.fullmatch(slash + path):
        raise ValueError("its path has an empty part or a character that is written as %XX")
    host, port = _host_and_port(netloc)
    if not scheme:
        scheme = "https" if host == _CLOUD else "http"
        default_port = _SCHEMES["https"] if host == _CLOUD else default_port
    else:
        default_port = _SCHEMES[scheme]
    prefix = (slash + path).rstrip("/")
    return Endpoint(scheme, _WILDCARDS.get(host, host), port or default_port, prefix)


def _host_and_port(netloc: str) -> tuple[str, int | None]:
    bracketed = re.fullmatch(r"\[([^\]]*)\](?::(.*))?", netloc)
    if bracketed:
        host, port = bracketed[1], bracketed[2]
    elif netloc.count(":") > 1:
        host, port = netloc, None
    else:
        host, _, port = netloc.partition(":")
    return _host(host), _port(port)


def _host(text: str) -> str:
    if ":" in text:
        try:
            return str(ipaddress.IPv6Address(text))
        except ValueError:
            raise ValueError("its host is not a name or an address") from None
    labels = text.removesuffix(".").split(".")  # one dot at the end is the root
    if text and not (_HOST.fullmatch(text) and all(0 < len(label) <= _LABEL for label in labels)):
        raise ValueError("its host is not a name or an address")
    return text.lower()


def _port(text: str | None) -> int | None:
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 0 < int(text) <= _MAX_PORT:
        raise ValueError(f"its port must be a number from 1 to {_MAX_PORT}")
    return int(text)
