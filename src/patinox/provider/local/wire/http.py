"""A request that was not sent yet, and a reply that was read to its end."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from patinox.provider.errors import InvalidRequest


class HTTPRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to send; `path` starts with a slash and comes after the endpoint's prefix."""

    method: str = "GET"
    path: str
    body: bytes | None = None


class HTTPReply(msgspec.Struct, frozen=True, kw_only=True):
    """What came back; the names of `headers` are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether the status says that it went well."""
        return 200 <= self.status < 300  # noqa: PLR2004  the class of success in HTTP


def json_request(method: str, path: str, body: Mapping[str, object]) -> HTTPRequest:
    """Make a request with a JSON body.

    Raises:
        InvalidRequest: a value in it has no JSON form.
    """
    try:
        encoded = msgspec.json.encode(body)
    except (TypeError, UnicodeEncodeError, RecursionError) as error:
        msg = f"The request cannot be written as JSON: {error}."
        raise InvalidRequest(msg) from error
    return HTTPRequest(method=method, path=path, body=encoded)
