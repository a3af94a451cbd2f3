"""A request that was not sent yet, and a reply that was read to its end."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from patinox.provider.errors import InvalidRequest


class HTTPRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to send.

    Attributes:
        method: in capitals.
        path: starts with a slash and comes after the endpoint's prefix.
        body: JSON, or `None`.
        pure: it changes nothing and costs little, although it is no `GET`.
    """

    method: str = "GET"
    path: str
    body: bytes | None = None
    pure: bool = False

    @property
    def repeatable(self) -> bool:
        """Whether nothing is lost if the server gets it twice."""
        return self.pure or self.method == "GET"


class HTTPReply(msgspec.Struct, frozen=True, kw_only=True):
    """What came back; the names of `headers` are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether the status says that it went well."""
        return 200 <= self.status < 300  # noqa: PLR2004  the class of success in HTTP


def json_request(
    method: str, path: str, body: Mapping[str, object], *, pure: bool = False
) -> HTTPRequest:
    """Make a request with a JSON body; a `pure` one may be sent twice.

    Raises:
        InvalidRequest: a value in it has no JSON form.
    """
    try:
        encoded = msgspec.json.encode(body)
    except (TypeError, UnicodeEncodeError, RecursionError) as error:
        msg = f"The request cannot be written as JSON: {error}."
        raise InvalidRequest(msg) from error
    return HTTPRequest(method=method, path=path, body=encoded, pure=pure)
