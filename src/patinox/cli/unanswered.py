"""The addresses that the user gave where no service proved itself. No I/O."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from patinox.provider.local.probing import Finding


class Unanswered(msgspec.Struct, frozen=True, kw_only=True):
    """An address that the user gave, and why no service counts as found there.

    Attributes:
        address: where.
        setting: what named it: a variable, or a key of the file.
        reason: what came of looking at it.
        answered: something answers there, which proved to be nothing that is known.
        refused: nothing listens there.
    """

    address: str
    setting: str
    reason: str
    answered: bool = False
    refused: bool = False

    def __str__(self) -> str:
        """Tell it in a line."""
        return f"{self.setting} {self.address}: {self.reason}"


def unanswered(findings: Sequence[Finding], service: str | None = None) -> list[Unanswered]:
    """List the addresses given for a service, or for any, where none proved itself.

    `localhost` is two addresses, and one that answers is enough.
    """
    given = [finding for finding in findings if finding.place.configured]
    proven = {_spot(finding) for finding in given if finding.proof}
    silent = {_spot(each): each for each in reversed(given) if _is_for(each, service)}
    return [_told(silent[spot]) for spot in reversed(silent) if spot not in proven]


def reason_of(finding: Finding) -> str:
    """Say what came of looking at an address, without repeating the address."""
    return finding.reason.removeprefix(f"{finding.place.endpoint.authority} ").rstrip(".")


def _told(finding: Finding) -> Unanswered:
    return Unanswered(
        address=str(finding.place.endpoint).removeprefix("http://"),
        setting=finding.place.setting,
        reason=reason_of(finding),
        answered=finding.answered,
        refused=finding.refused,
    )


def _spot(finding: Finding) -> tuple[str, str, int, str]:
    here = finding.place.endpoint
    host = "loopback" if here.is_loopback else here.host
    return finding.place.setting, host, here.port, here.prefix


def _is_for(finding: Finding, service: str | None) -> bool:
    place = finding.place
    kind = service.partition("@")[0] if service else None
    return kind is None or place.expected in (None, kind) or place.name == service
