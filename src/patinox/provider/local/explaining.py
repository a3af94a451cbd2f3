"""What an exception of the HTTP client means for the address that was asked."""

from __future__ import annotations

import contextlib
import errno
import re
import ssl
from collections.abc import Generator

from patinox.provider.local.endpoint import Endpoint
from patinox.provider.local.errors import (
    LocalResourcesExhausted,
    ParseError,
    ServiceTimeout,
    ServiceUnavailable,
    StreamInterrupted,
)
from patinox.provider.local.waiting import late

_NONE_LEFT = {errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM}
# Where the HTTP client begins to repeat, in a message, what the server said.
_SERVERS_WORDS = re.compile(r"[:\n\"]| '")


@contextlib.contextmanager
def explained(endpoint: Endpoint, *, streaming: bool = False) -> Generator[None]:
    """Turn the HTTP client's exceptions into ours, each with what it means for this address.

    Those that may repeat what the server said are no cause of ours: it may have said the key, or
    the prompt, and causes stand in every traceback.
    """
    import aiohttp  # noqa: PLC0415  too heavy for `import patinox`

    from patinox.provider.local.connections import (  # noqa: PLC0415
        HEAD_SECONDS,
        SPEAKS_TLS,
        HeadTooSlow,
    )

    place = endpoint.authority
    try:
        yield
    except HeadTooSlow:
        raise late(place, "headers", HEAD_SECONDS) from None
    except aiohttp.ServerTimeoutError as error:
        msg = f"{place} did not accept a connection in time."
        raise ServiceTimeout(msg, phase="connect", seconds=0.0) from error
    except (aiohttp.ClientSSLError, aiohttp.ServerFingerprintMismatch, ssl.SSLError) as error:
        msg = f"{place} could not be trusted or does not speak TLS: {error}."
        check = "Check the scheme, http or https."
        raise ServiceUnavailable(msg, sent=False, hint=check) from error
    except (aiohttp.ClientPayloadError, aiohttp.ClientConnectionResetError):
        if streaming:
            msg = f"The connection to {place} broke in the middle of the answer."
            raise StreamInterrupted(msg, retryable=True) from None
        msg = f"The connection to {place} broke before the reply was whole."
        raise ParseError(msg) from None
    except aiohttp.ClientConnectorError as error:
        if error.os_error.errno in _NONE_LEFT:
            raise _exhausted(place, error.os_error) from error
        refused = isinstance(error.os_error, ConnectionRefusedError)
        why = "nothing listens there" if refused else error.os_error.strerror or "no connection"
        msg = f"{place} could not be reached: {why}."
        raise ServiceUnavailable(msg, refused=refused, sent=False) from error
    except aiohttp.ClientResponseError as error:
        what = _SERVERS_WORDS.split(error.message)[0].rstrip()
        hint = "Write its address with https://." if what == SPEAKS_TLS else None
        msg = f"{place} does not speak HTTP as it should: {what:.64}."
        raise ServiceUnavailable(msg, foreign=True, hint=hint) from None
    except (aiohttp.ClientError, OSError):
        msg = f"{place} closed the connection without an answer."
        raise ServiceUnavailable(msg) from None


def _exhausted(place: str, error: OSError) -> LocalResourcesExhausted:
    return LocalResourcesExhausted(
        f"This process cannot open one more connection, here to {place}: {error.strerror}.",
        hint="Use fewer at once, or raise the limit: ulimit -n",
    )
