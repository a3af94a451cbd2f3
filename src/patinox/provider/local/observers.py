"""Events on their way to observers, none of whom can harm a request or another observer."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence

from patinox.provider.checks import shown
from patinox.provider.local.errors import InvalidConfiguration
from patinox.provider.local.events import CallContent, Event, Observer


class Observers:
    """Those who are told what happens; false if there is nobody."""

    def __init__(self, observers: Sequence[Observer] = ()) -> None:
        """Take those who are to be told.

        Raises:
            InvalidConfiguration: they are no list, or one of them has no method `observe`, or one
                that is `async`.
        """
        if not isinstance(observers, Sequence):
            msg = f"`observers` is {shown(observers)}; allowed: a list of observers."
            raise InvalidConfiguration(msg, hint="Put a single one into brackets: observers=[one].")
        for each in observers:
            if isinstance(each, type) or not callable(getattr(each, "observe", None)):
                msg = f"`observers` has a {shown(each)}; allowed: objects with a method `observe`."
                raise InvalidConfiguration(msg)
            if inspect.iscoroutinefunction(each.observe):
                msg = f"`observers` has a {shown(each)} with an `async def observe`, never awaited."
                hint = "Write `def observe`, and let it start a task for what has to wait."
                raise InvalidConfiguration(msg, hint=hint)
        self._each = tuple(observers)
        self._curious = tuple(each for each in self._each if getattr(each, "content", False))
        self._faulty = set[int]()

    def __bool__(self) -> bool:
        """Whether there is anybody to tell."""
        return bool(self._each)

    @property
    def curious(self) -> bool:
        """Whether anybody wants to know what is said."""
        return bool(self._curious)

    def tell(self, event: Event) -> None:
        """Tell everybody whom it concerns; what goes wrong there is logged, once for each."""
        handled = sys.exception()
        for each in self._curious if isinstance(event, CallContent) else self._each:
            try:
                each.observe(event)
            except Exception as error:  # noqa: BLE001  telemetry never breaks what it watches
                _part(error, handled)
                self._complain(each, error)

    def _complain(self, observer: Observer, error: Exception) -> None:
        if id(observer) in self._faulty:
            return
        import logging  # noqa: PLC0415  only where there is something to say

        self._faulty.add(id(observer))
        logging.getLogger("patinox").warning(
            "The observer %s failed; what else goes wrong in it is not told.",
            type(observer).__name__,
            exc_info=error,
        )


def _part(error: Exception, handled: BaseException | None) -> None:
    """Part an observer's error from that of the call, which is the caller's and not for a log."""
    chain: list[BaseException] = [error]
    for link in chain:
        if link.__context__ is handled:
            link.__context__ = None
        for before in (link.__cause__, link.__context__):
            if before is not None and all(before is not known for known in chain):
                chain.append(before)


NOBODY = Observers()
