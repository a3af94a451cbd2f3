"""Every row of the catalogue, sections A to G, is shown: by a fault in the table, or by a test."""

import ast
from pathlib import Path

import pytest
from expected import ELSEWHERE

from patinox.testing.faults import FAULTS

TESTS = Path(__file__).parent.parent
LOCAL = "provider/local"
# Rows that no switch of an emulator shows, each with the test that does.
ROWS = {
    9: f"{LOCAL}/test_transport.py::test_a_port_without_tls",
    10: f"{LOCAL}/test_transport.py::test_a_certificate_that_nobody_vouches_for_is_not_trusted",
    11: f"{LOCAL}/test_discovery.py::test_a_server_on_ipv6_alone_is_found",
    12: f"{LOCAL}/test_discovery.py::"
    "test_two_servers_of_a_kind_on_two_loopback_addresses_are_two_services",
    13: f"{LOCAL}/test_endpoint.py::test_the_table_of_forms_holds",
    14: f"{LOCAL}/test_names.py::"
    "test_the_search_for_a_name_is_a_part_of_the_time_for_the_connection",
    17: f"{LOCAL}/test_transport.py::test_a_process_without_descriptors_blames_no_server",
    20: f"{LOCAL}/test_watch.py::test_after_a_standstill_there_is_a_look_and_no_failure_counts",
    70: f"{LOCAL}/dialects/test_base.py::test_arguments_come_as_text_or_as_an_object",
    95: f"{LOCAL}/dialects/test_openai.py::test_reasoning_has_two_names",
    96: f"{LOCAL}/dialects/test_openai.py::test_calls_are_told_apart_by_index_else_by_their_place",
    97: f"{LOCAL}/dialects/test_ollama.py::test_the_reason_to_finish_is_handed_on",
    100: f"{LOCAL}/test_lmstudio.py::test_a_200_that_is_no_answer_is_an_error",
    101: f"{LOCAL}/test_discovery.py::"
    "test_ollama_where_lm_studio_should_be_is_reported_as_ollama_there",
    114: f"{LOCAL}/test_watch.py::"
    "test_a_server_on_this_machine_is_known_to_be_back_within_three_seconds",
    122: f"{LOCAL}/test_limits.py::test_beyond_the_longest_line_it_is_busy",
    123: f"{LOCAL}/test_limits.py::"
    "test_who_is_cancelled_in_the_moment_of_getting_a_place_passes_it_on",
    125: f"{LOCAL}/test_flight.py::test_a_caller_who_leaves_takes_the_run_from_nobody",
    126: f"{LOCAL}/test_transport.py::test_it_belongs_to_the_loop_that_used_it_first",
    127: f"{LOCAL}/test_observers.py::test_a_fault_of_one_is_logged_once_and_harms_nobody",
    128: f"{LOCAL}/test_transport.py::test_a_timeout_of_the_callers_own_stays_his",
    130: f"{LOCAL}/test_watch.py::"
    "test_a_probe_that_was_overtaken_by_what_requests_saw_changes_nothing",
}
# What does not hold: the address of a name is not pinned between two requests (15). What is not
# here: there is no gateway (105, 117), and a thousand streams at once are for `make soak` (121).
NOT_HERE = {15, 105, 117, 121}


def exists(test: str) -> bool:
    file, _, name = test.partition("::")
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return not name or any(isinstance(n, functions) and n.name == name for n in ast.walk(tree))


def test_every_row_is_shown_somewhere() -> None:
    faults = {row for fault in FAULTS.values() for row in fault.rows}
    assert faults | ROWS.keys() | NOT_HERE >= set(range(1, 131))
    assert not faults & ROWS.keys()


@pytest.mark.parametrize("test", [*ROWS.values(), *ELSEWHERE.values()])
def test_the_test_of_a_row_exists(test: str) -> None:
    assert exists(test)
