"""When a request may be made again, and where: the rule, free of I/O.

It goes by how far the failed attempt came. What never left this machine may go to the same server
once more; what a server may have begun goes to another only, and what has put out a part of its
answer goes nowhere. A mistake of the caller is one everywhere. A server that is busy or loads a
model is asked again after others were, if it said when.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence

import msgspec

from patinox.provider.errors import (
    ProviderError,
    RateLimited,
)
from patinox.provider.local.errors import (
    AllServicesFailed,
    FailedAttempt,
    LocalResourcesExhausted,
    ModelNotLoaded,
    ParseError,
    ServiceTimeout,
    ServiceUnavailable,
)
from patinox.provider.local.events import Phase
from patinox.provider.local.routing import Choice

# At most so many attempts for one request, however many servers there are.
MOST_ATTEMPTS = 3
# Seconds before the same server is asked again: any part of them, for each failure so far.
BACKOFF = 0.2
# The longest that is waited for a server that says when it will have time, in seconds.
LONGEST_WAIT = 10.0
_BUSY = 503
_REFUSALS = range(400, 500)

Random = Callable[[], float]


class Try(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to ask next.

    Attributes:
        choice: the service, and why.
        wait: seconds before that.
        warming: it is loading its model: wait for that, at most.
    """

    choice: Choice
    wait: float = 0.0
    warming: bool = False


class Tries:
    """The attempts of one request: what failed, and who is asked next."""

    def __init__(
        self, choices: Sequence[Choice], *, random: Random, repeatable: bool = False
    ) -> None:
        """Start with the services in their order.

        Args:
            choices: who may be asked, the best first.
            random: gives numbers from 0 to 1.
            repeatable: doing it twice on one server harms nothing, as with vectors.

        """
        self.failures: list[FailedAttempt] = []
        self._choices = deque(choices)
        self._later: deque[tuple[Choice, float, bool]] = deque()
        self._again: Try | None = None
        self._repeated = set[str]()
        self._random = random
        self._repeatable = repeatable

    def next(self, now: float) -> Try | None:
        """Return whom to ask next, at this time of the clock; `None` if nobody is left."""
        if len(self.failures) >= MOST_ATTEMPTS:
            return None
        again, self._again = self._again, None
        if again is not None:
            return again
        if self._choices:
            return Try(choice=self._choices.popleft())
        if self._later:
            choice, at, warming = self._later.popleft()
            return Try(choice=choice, wait=max(0.0, at - now), warming=warming)
        return None

    def failed(self, choice: Choice, error: ProviderError, now: float, reached: Phase) -> None:
        """Note an attempt that came so far, and failed at this time of the clock."""
        self.failures.append(
            FailedAttempt(
                service=choice.service,
                error=error,
                phase=reached,
                may_have_executed=may_have_executed(reached, error),
            )
        )
        if not goes_elsewhere(error):
            self._choices.clear()
            self._later.clear()
        elif choice.service not in self._repeated:
            self._repeat(choice, error, now)

    def _repeat(self, choice: Choice, error: ProviderError, now: float) -> None:
        """Have the same server asked a second time, if the error allows that: now or at the end."""
        if unsent(error) or (self._repeatable and _broke_off(error)):
            self._again = Try(choice=choice, wait=self._backoff())
        elif isinstance(error, RateLimited) and error.retry_after is not None:
            at = now + min(error.retry_after, LONGEST_WAIT)
            self._later.append((choice, at, False))
        elif isinstance(error, ModelNotLoaded) and error.status == _BUSY:
            self._later.append((choice, now, True))
        else:
            return
        self._repeated.add(choice.service)

    def error(self) -> ProviderError:
        """Make one error of all; one that would be the same everywhere comes out as it is."""
        last = self.failures[-1].error
        if not goes_elsewhere(last):
            return last
        errors = {failure.service: failure.error for failure in self.failures}
        return all_failed(errors, self.failures)

    def _backoff(self) -> float:
        return self._random() * BACKOFF * len(self.failures)


def all_failed(
    errors: Mapping[str, ProviderError], tried: Sequence[FailedAttempt] = ()
) -> ProviderError:
    """Make one error of each service's: a single one as it is, several with the first as cause."""
    first = next(iter(errors.values()))
    if len(errors) == 1:
        return first
    said = " ".join(f"{name}: {error.message}" for name, error in errors.items())
    failed = AllServicesFailed(
        f"All {len(errors)} services failed. {said}", attempts=errors, tried=tried, hint=first.hint
    )
    failed.__cause__ = first
    return failed


def goes_elsewhere(error: ProviderError) -> bool:
    """Whether another server may do better with the same request.

    A key that is refused is for the user to see to: an answer from elsewhere would hide it.
    """
    return error.retryable and not error.delivered


def unsent(error: ProviderError) -> bool:
    """Whether nothing has left this machine, and nothing says that it will not the next time."""
    return isinstance(error, ServiceUnavailable) and not (error.sent or error.refused)


def corrected(noted: Phase, error: ProviderError) -> Phase:
    """Correct how far an attempt was seen to come by what its error tells of the connection."""
    if _unconnected(error):
        return Phase.CONNECTING
    replied = error.status is not None or isinstance(error, ParseError)
    return Phase.ANSWERING if noted is Phase.SENT and replied else noted


def may_have_executed(reached: Phase, error: ProviderError | None) -> bool:
    """Whether a server may have done the work, or a part of it; it came so far, and then failed."""
    return reached.reached_the_server and not (error and _refused(error))


def _refused(error: ProviderError) -> bool:
    """Whether the server said that it did not begin."""
    return error.status in _REFUSALS or error.status == _BUSY


def _broke_off(error: ProviderError) -> bool:
    return isinstance(error, ServiceUnavailable) and not error.refused


def _unconnected(error: ProviderError) -> bool:
    if isinstance(error, ServiceTimeout):
        return error.phase == "connect"
    unsent = isinstance(error, ServiceUnavailable) and not error.sent
    return unsent or isinstance(error, LocalResourcesExhausted)
