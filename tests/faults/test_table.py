"""Every fault, in every service, in every call, through every face: what must come of it.

What must come is written in `expected.py`, from the catalogue. A cell asserts the outcome,
the time it took, what the server saw, that nothing stays open, and that the next call goes well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import expected
import pytest
from cells import SHORT, Cell
from faces import AsyncFace, BlockingFace, CommandLine, Face, MainThread, Subject, lmstudio, ollama

from patinox.testing.faults import FAULTS

pytestmark = pytest.mark.slow
TABLE = expected.expectations()
OLLAMA, LMSTUDIO = ("0.24", "0.33"), ("0.3", "0.4")
SUBJECTS = {each.name: each for each in (*map(ollama, OLLAMA), *map(lmstudio, LMSTUDIO))}


def cells_of(fault: str, subjects: Sequence[Subject], face: Face) -> Iterator[Cell]:
    for subject in subjects:
        for call in TABLE[fault][subject.kind]:
            outcome = expected.through(face.name, FAULTS[fault], subject.kind, call)
            yield Cell(
                fault=FAULTS[fault],
                subject=replace(subject, total=SHORT if fault in expected.TOTAL else None),
                call=call,
                expected=outcome,
                timed=fault in expected.TIMED,
                abandoned=fault in expected.ABANDONED and call != "probe",
                requests=expected.requests(fault, call),
                slow=expected.SLOW.get(fault, 0.0),
            )


async def see(face: Face, fault: str, *subjects: Subject) -> None:
    """See the cells through a face, few at a time, but more that only wait."""
    here = subjects or [SUBJECTS[name] for name in expected.services(face.name, FAULTS[fault])]
    some = list(cells_of(fault, here, face))
    gate = asyncio.Semaphore(face.patient if some[0].timed else face.at_once)
    # So many exchanges take minutes in debug mode, which all the other tests run in.
    asyncio.get_running_loop().set_debug(False)

    async def one(cell: Cell) -> list[str]:
        async with gate:
            return await cell.complaints(face)

    found = await asyncio.gather(*(one(cell) for cell in some))
    complaints = [complaint for each in found for complaint in each]
    assert not complaints, "\n".join(["", *complaints])


def test_the_table_has_a_row_for_every_fault() -> None:
    assert {*TABLE, *expected.ELSEWHERE} == {*FAULTS}


@pytest.mark.parametrize("fault", TABLE)
async def test_async(fault: str) -> None:
    await see(AsyncFace(), fault)


@pytest.mark.parametrize("fault", TABLE)
async def test_blocking(fault: str) -> None:
    await see(BlockingFace(), fault)


@pytest.mark.parametrize("fault", TABLE)
def test_on_the_command_line(fault: str, tmp_path: Path) -> None:
    main_thread = MainThread()
    main_thread.serve(see(CommandLine(tmp_path, main_thread), fault))


@pytest.mark.engine
@pytest.mark.parametrize("fault", TABLE)
async def test_before_the_real_engine(fault: str, engine: Subject) -> None:
    await see(AsyncFace(), fault, engine)
