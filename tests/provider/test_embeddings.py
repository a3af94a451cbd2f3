import base64
import ctypes
import math
import struct
import sys
from array import array
from collections.abc import Sequence
from math import prod

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patinox.provider.embeddings import EmbeddingMatrix

ROWS = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
MATRIX = EmbeddingMatrix.from_rows(ROWS)
FLOATS = st.floats(width=32, allow_nan=False)


@settings(max_examples=40)
@given(
    st.integers(1, 4).flatmap(
        lambda width: st.lists(st.lists(FLOATS, min_size=width, max_size=width), max_size=4)
    )
)
def test_rows_come_back_as_they_went_in(rows: list[list[float]]) -> None:
    matrix = EmbeddingMatrix.from_rows(rows)
    assert matrix.tolist() == rows
    assert list(matrix) == rows
    assert (len(matrix), matrix.dimensions) == (len(rows), len(rows[0]) if rows else 0)


def test_it_reads_as_a_sequence_of_rows() -> None:
    assert isinstance(MATRIX, Sequence)
    assert (MATRIX[0], MATRIX[2], MATRIX[-1], MATRIX[-3]) == (ROWS[0], ROWS[2], ROWS[2], ROWS[0])
    assert MATRIX[1:] == ROWS[1:]
    assert MATRIX[::-2] == ROWS[::-2]
    assert MATRIX[9:] == []
    assert [3.0, 4.0] in MATRIX
    assert MATRIX.index([5.0, 6.0]) == 2


@pytest.mark.parametrize("index", [3, -4])
def test_a_row_that_is_not_there_is_told_so(index: int) -> None:
    with pytest.raises(IndexError, match=f"row {index} of a matrix of 3"):
        MATRIX[index]


def test_a_row_is_a_copy() -> None:
    MATRIX[0].append(9.0)
    MATRIX.tolist()[1].clear()
    assert EmbeddingMatrix.from_rows(ROWS) == MATRIX


def test_a_number_too_large_for_single_precision_is_infinite() -> None:
    assert EmbeddingMatrix.from_rows([[1e39, -1e39]]).tolist() == [[math.inf, -math.inf]]


def test_rows_of_different_lengths_are_no_matrix() -> None:
    with pytest.raises(ValueError, match="rows of 1 to 3 numbers"):
        EmbeddingMatrix.from_rows([[1.0, 2.0], [1.0, 2.0, 3.0], [1.0]])


@pytest.mark.parametrize(("count", "rows"), [(3, 2), (1, 0), (2, -1), (0, -1)])
def test_numbers_that_do_not_fill_the_rows_are_no_matrix(count: int, rows: int) -> None:
    with pytest.raises(ValueError, match=f"{count} numbers do not make {rows} equal rows"):
        EmbeddingMatrix(array("f", [0.0] * count), rows=rows)


def test_only_single_precision_is_taken() -> None:
    with pytest.raises(ValueError, match=r"array\('f'\), not array\('d'\)"):
        EmbeddingMatrix(array("d", [1.0]), rows=1)


def test_a_matrix_may_be_empty() -> None:
    empty = EmbeddingMatrix(array("f"), rows=0)
    assert (len(empty), empty.dimensions, empty.tolist()) == (0, 0, [])
    assert EmbeddingMatrix.from_rows([[], []]).tolist() == [[], []]


def test_matrices_are_equal_by_shape_and_numbers() -> None:
    same = EmbeddingMatrix(array("f", [1, 2, 3, 4, 5, 6]), rows=3)
    other = EmbeddingMatrix(array("f", [1, 2, 3, 4, 5, 6]), rows=2)
    assert same == MATRIX
    assert hash(same) == hash(MATRIX)
    assert other != MATRIX
    assert hash(other) != hash(MATRIX)
    assert EmbeddingMatrix(array("f", [1, 2, 3, 4, 5, 7]), rows=3) != MATRIX
    assert (MATRIX == ROWS) is False


def test_it_shows_its_shape_and_no_numbers() -> None:
    assert repr(MATRIX) == "<EmbeddingMatrix 3 x 2>"


def test_numpy_is_handed_the_memory_itself() -> None:
    data = array("f", [1, 2, 3, 4, 5, 6])
    interface = EmbeddingMatrix(data, rows=3).__array_interface__
    assert (interface["version"], interface["shape"]) == (3, (3, 2))
    assert interface["typestr"] == {"little": "<f4", "big": ">f4"}[sys.byteorder]
    address, read_only = interface["data"]
    assert not read_only
    seen = (ctypes.c_float * prod(interface["shape"])).from_address(address)
    assert list(seen) == [1, 2, 3, 4, 5, 6]
    data[5] = 9
    assert seen[5] == 9


def test_rows_of_base64_become_one_block() -> None:
    rows = [base64.b64encode(struct.pack("<2f", *row)).decode() for row in [(1.0, 2.0), (0.5, -4)]]
    assert EmbeddingMatrix.from_base64(rows) == EmbeddingMatrix.from_rows([[1, 2], [0.5, -4]])
    assert EmbeddingMatrix.from_base64([]).dimensions == 0


def test_bytes_are_turned_round_on_machines_that_write_them_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    row = base64.b64encode(struct.pack("<2f", 1.0, 2.0)).decode()
    turned = {"little": "big", "big": "little"}[sys.byteorder]
    monkeypatch.setattr(sys, "byteorder", turned)
    (found,) = EmbeddingMatrix.from_base64([row]).tolist()
    assert struct.pack("<2f", *found) == struct.pack(">2f", 1.0, 2.0)


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        (["!!"], "not base64 of 32-bit floats"),
        (["AAA="], "not base64 of 32-bit floats"),
        (["AAAAAA==", "AAAAAAAAAAA="], "rows of 4 to 8 bytes"),
    ],
)
def test_rows_that_are_no_base64_of_equal_length_are_refused(rows: list[str], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        EmbeddingMatrix.from_base64(rows)


def test_matrices_are_put_below_one_another() -> None:
    parts = [EmbeddingMatrix.from_rows([[1, 2], [3, 4]]), EmbeddingMatrix.from_rows([[5, 6]])]
    assert EmbeddingMatrix.joined(parts).tolist() == [[1, 2], [3, 4], [5, 6]]
    with pytest.raises(ValueError, match="rows of 2, 1 numbers"):
        EmbeddingMatrix.joined([parts[0], EmbeddingMatrix.from_rows([[1]])])


@given(st.lists(st.floats(width=32), min_size=1, max_size=20))
def test_what_is_no_finite_number_is_seen_wherever_it_stands(row: list[float]) -> None:
    assert EmbeddingMatrix.from_rows([row]).is_finite == all(map(math.isfinite, row))


def test_vectors_of_length_one_are_normalized() -> None:
    assert EmbeddingMatrix.from_rows([[0.6, 0.8], [1, 0]]).is_normalized
    assert not EmbeddingMatrix.from_rows([[0.6, 0.8], [1, 1]]).is_normalized
