"""Reading HTTP/1 requests from a stream, and writing the head of an answer (RFC 9112)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import unquote, urlsplit

_HEAD_LIMIT = 64 * 1024
_READ_SIZE = 64 * 1024
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_LENGTH = re.compile(r"[0-9]{1,15}")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,12})[ \t]*(?:;.*)?")


class Refused(Exception):
    """The request cannot be read: the connection ends with a short answer."""

    def __init__(self, status: HTTPStatus, detail: str = "") -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail

    def render(self) -> bytes:
        """Return the answer."""
        said = f"{self.status.value} {self.status.phrase}"
        body = f"{said}: {self.detail}".encode() if self.detail else said.encode()
        fields = {
            "Content-Type": "text/plain; charset=utf-8",
            "Content-Length": str(len(body)),
            "Connection": "close",
        }
        return render_head(self.status, fields) + body


@dataclass(frozen=True)
class Request:
    """One request; the path is percent-decoded, header names are lower-cased."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    version: str = "HTTP/1.1"


class RequestReader:
    """Reads the requests of one connection, one after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._buffer = bytearray()

    async def read(self) -> Request:
        """Return the next request.

        Raises:
            Refused: it is malformed or its head is too long.
            EOFError: the client closed the connection.
            ConnectionError: the client reset the connection.
        """
        head = await self._take_until(b"\r\n\r\n", HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        line, *fields = head.decode("latin-1").split("\r\n")
        method, target, version = _parse_request_line(line)
        path, query = _split_target(target)
        headers = _parse_fields(fields)
        if version == "HTTP/1.1" and "host" not in headers:
            raise Refused(HTTPStatus.BAD_REQUEST, "missing required Host header")
        if headers.get("expect", "").lower() == "100-continue":
            self._writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return Request(method, path, query, headers, await self._read_body(headers), version)

    async def hung_up(self) -> None:
        """Return when the client closes its side; what it sends meanwhile is the next request."""
        with suppress(ConnectionError, EOFError):
            while len(self._buffer) < _HEAD_LIMIT:
                await self._fill()
            await asyncio.Event().wait()

    async def _read_body(self, headers: Mapping[str, str]) -> bytes:
        coding = headers.get("transfer-encoding")
        length = headers.get("content-length", "0")
        if coding is None and _LENGTH.fullmatch(length):
            return await self._take(int(length))
        if coding is None or coding.lower() != "chunked" or "content-length" in headers:
            raise Refused(HTTPStatus.BAD_REQUEST)
        return await self._read_chunks()

    async def _read_chunks(self) -> bytes:
        body = bytearray()
        while size := _chunk_size(await self._take_line()):
            body += await self._take(size)
            if await self._take_line():
                raise Refused(HTTPStatus.BAD_REQUEST)
        while await self._take_line():
            pass  # trailers say nothing to us
        return bytes(body)

    async def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            await self._fill()
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    async def _take_line(self) -> bytes:
        return await self._take_until(b"\r\n", HTTPStatus.BAD_REQUEST)

    async def _take_until(self, mark: bytes, too_long: HTTPStatus) -> bytes:
        while (end := self._buffer.find(mark)) < 0:
            if len(self._buffer) > _HEAD_LIMIT:
                raise Refused(too_long)
            await self._fill()
        taken = await self._take(end + len(mark))
        return taken[:end]

    async def _fill(self) -> None:
        data = await self._reader.read(_READ_SIZE)
        if not data:
            raise EOFError
        self._buffer += data


def render_head(status: int, fields: Mapping[str, str], version: str = "HTTP/1.1") -> bytes:
    """Return the status line and the header fields, with the blank line after them."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:  # a status of the server's own
        phrase = ""
    lines = [
        f"{version} {status} {phrase}",
        *(f"{name}: {value}" for name, value in fields.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _parse_request_line(line: str) -> tuple[str, str, str]:
    parts = line.split(" ")
    if len(parts) != 3 or not _TOKEN.fullmatch(parts[0]):  # noqa: PLR2004 - three parts
        raise Refused(HTTPStatus.BAD_REQUEST)
    method, target, version = parts
    if version not in {"HTTP/1.0", "HTTP/1.1"}:
        raise Refused(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "unsupported protocol version")
    return method, target, version


def _split_target(target: str) -> tuple[str, str]:
    if not target.startswith("/"):  # the absolute form, as sent to a proxy
        parts = urlsplit(target)
        return unquote(parts.path) or "/", parts.query
    path, _, query = target.partition("?")
    return unquote(path), query


def _parse_fields(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not _TOKEN.fullmatch(name):
            raise Refused(HTTPStatus.BAD_REQUEST)
        key, value = name.lower(), value.strip(" \t")
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    return headers


def _chunk_size(line: bytes) -> int:
    match = _CHUNK_SIZE.fullmatch(line)
    if match is None:
        raise Refused(HTTPStatus.BAD_REQUEST)
    return int(match[1], 16)
