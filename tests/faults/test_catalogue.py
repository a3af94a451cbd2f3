"""Every row of the catalogue, sections A to H, is shown: by a fault in the table, or by a test."""

import ast
from pathlib import Path

import pytest
from expected import ELSEWHERE

from patinox.testing.faults import FAULTS

TESTS = Path(__file__).parent.parent
LOCAL = "provider/local"
# Rows that no switch of an emulator shows, or not the whole of them, each with the test that does.
ROWS = {
    9: f"{LOCAL}/test_transport.py::test_a_port_without_tls",
    10: f"{LOCAL}/test_transport.py::test_a_certificate_that_nobody_vouches_for_is_not_trusted",
    11: f"{LOCAL}/test_discovery.py::test_a_server_on_ipv6_alone_is_found",
    12: f"{LOCAL}/test_discovery.py::"
    "test_two_servers_of_a_kind_on_two_loopback_addresses_are_two_services",
    13: f"{LOCAL}/test_endpoint.py::test_the_table_of_forms_holds",
    14: f"{LOCAL}/test_names.py::"
    "test_the_search_for_a_name_is_a_part_of_the_time_for_the_connection",
    15: f"{LOCAL}/test_names.py::"
    "test_a_request_goes_where_the_server_has_proven_itself_wherever_the_name_leads_now",
    16: f"{LOCAL}/test_transport.py::test_a_kept_connection_that_died_is_replaced_unseen",
    17: f"{LOCAL}/test_transport.py::test_a_process_without_descriptors_blames_no_server",
    20: "faults/test_processes.py::"
    "test_a_server_that_stands_still_fails_by_the_limit_and_is_back_when_it_goes_on",
    65: "faults/test_bombs.py::"
    "test_twenty_thousand_models_take_less_than_a_second_and_the_loop_goes_on",
    70: f"{LOCAL}/dialects/test_base.py::test_arguments_come_as_text_or_as_an_object",
    95: f"{LOCAL}/dialects/test_openai.py::test_reasoning_has_two_names",
    96: f"{LOCAL}/dialects/test_openai.py::test_calls_are_told_apart_by_index_else_by_their_place",
    97: f"{LOCAL}/dialects/test_ollama.py::test_the_reason_to_finish_is_handed_on",
    100: f"{LOCAL}/test_lmstudio.py::test_a_200_that_is_no_answer_is_an_error",
    101: f"{LOCAL}/test_discovery.py::"
    "test_ollama_where_lm_studio_should_be_is_reported_as_ollama_there",
    107: f"{LOCAL}/test_discovery.py::test_a_key_is_never_shown_to_another_service_on_its_port",
    111: f"{LOCAL}/test_discovery.py::"
    "test_after_a_failure_a_request_shows_the_key_only_to_who_proves_itself_again",
    113: f"{LOCAL}/test_watch.py::"
    "test_a_server_that_flaps_stays_down_for_its_pause_and_no_state_changes_meanwhile",
    114: f"{LOCAL}/test_watch.py::"
    "test_a_server_on_this_machine_is_known_to_be_back_within_three_seconds",
    115: "faults/test_life.py::"
    "test_where_all_are_down_it_is_said_at_once_and_who_comes_back_is_asked",
    116: f"{LOCAL}/test_ollama.py::test_after_an_upgrade_it_is_asked_anew_what_its_models_can",
    118: f"{LOCAL}/test_cancelling.py::test_wherever_a_request_is_cancelled_nothing_of_it_stays",
    119: f"{LOCAL}/test_cancelling.py::"
    "test_a_stream_that_is_left_hangs_up_at_once_and_gives_its_place_back",
    120: f"{LOCAL}/test_cancelling.py::test_a_stream_that_is_dropped_hangs_up_and_says_so",
    121: "faults/test_processes.py::"
    "test_a_thousand_streams_at_once_are_all_answered_in_time_and_leave_nothing_open",
    122: f"{LOCAL}/test_limits.py::test_beyond_the_longest_line_it_is_busy",
    123: f"{LOCAL}/test_limits.py::"
    "test_who_is_cancelled_in_the_moment_of_getting_a_place_passes_it_on",
    124: f"{LOCAL}/test_transport.py::"
    "test_of_a_flood_that_nobody_reads_little_is_held_and_no_limit_runs",
    125: f"{LOCAL}/test_flight.py::test_a_caller_who_leaves_takes_the_run_from_nobody",
    126: f"{LOCAL}/test_transport.py::test_it_belongs_to_the_loop_that_used_it_first",
    127: f"{LOCAL}/test_observers.py::test_a_fault_of_one_is_logged_once_and_harms_nobody",
    128: f"{LOCAL}/test_waiting.py::test_what_comes_in_the_moment_of_the_limit_has_one_outcome",
    129: f"{LOCAL}/test_health.py::"
    "test_a_trial_that_nobody_hears_of_is_given_up_after_twice_its_limit",
    130: f"{LOCAL}/test_watch.py::"
    "test_a_probe_that_was_overtaken_by_what_requests_saw_changes_nothing",
    131: f"{LOCAL}/test_watch.py::test_the_date_may_jump_and_nothing_follows_from_it",
    132: f"{LOCAL}/test_watch.py::"
    "test_a_sleep_of_the_machine_that_the_clock_does_not_show_is_a_standstill",
    133: f"{LOCAL}/test_environment.py::test_a_variable_gives_an_address",
    134: f"{LOCAL}/test_environment.py::"
    "test_a_wrong_value_is_told_with_its_variable_and_what_is_allowed",
    135: f"{LOCAL}/test_environment.py::test_a_wrong_file_is_told_with_its_path_and_key",
    136: f"{LOCAL}/test_endpoint.py::test_a_key_in_an_address_is_refused_and_not_repeated",
    137: f"{LOCAL}/test_transport.py::test_the_environment_is_no_way_to_another_address",
    138: f"{LOCAL}/test_transport.py::test_the_environment_is_no_way_to_another_address",
    139: f"{LOCAL}/test_transport.py::test_whom_the_machine_trusts_is_trusted_and_nobody_else",
    140: f"{LOCAL}/test_environment.py::test_a_file_that_cannot_be_read_is_told",
    142: "cli/test_process.py::test_closed_streams_are_no_reason_to_fail",
}
# What is not here: there is no gateway.
NOT_HERE = {105, 117, 141}


def exists(test: str) -> bool:
    file, _, name = test.partition("::")
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return not name or any(isinstance(n, functions) and n.name == name for n in ast.walk(tree))


def test_every_row_is_shown_somewhere() -> None:
    faults = {row for fault in FAULTS.values() for row in fault.rows}
    assert faults | ROWS.keys() | NOT_HERE >= set(range(1, 143))


@pytest.mark.parametrize("test", sorted({*ROWS.values(), *ELSEWHERE.values()}))
def test_the_test_of_a_row_exists(test: str) -> None:
    assert exists(test)
