import msgspec
import pytest

from patinox.provider.errors import InvalidRequest
from patinox.provider.local.wire.http import HTTPReply, HTTPRequest, json_request


@pytest.mark.parametrize(
    ("status", "ok"), [(199, False), (200, True), (204, True), (299, True), (300, False)]
)
def test_a_status_in_the_two_hundreds_says_that_it_went_well(status: int, *, ok: bool) -> None:
    assert HTTPReply(status=status, headers={}, body=b"").ok is ok


def test_a_request_is_a_get_without_a_body_unless_told() -> None:
    assert HTTPRequest(path="/x") == HTTPRequest(method="GET", path="/x", body=None)


def test_a_json_request_carries_the_body_as_utf_8() -> None:
    request = json_request("POST", "/api/chat", {"text": "ü\u2028", "none": None, "n": 1})
    assert (request.method, request.path) == ("POST", "/api/chat")
    assert request.body == '{"text":"ü\u2028","none":null,"n":1}'.encode()


@pytest.mark.parametrize(
    ("request_", "repeatable"),
    [
        (HTTPRequest(path="/"), True),
        (HTTPRequest(method="DELETE", path="/"), False),
        (json_request("POST", "/", {}), False),
        (json_request("POST", "/", {}, pure=True), True),
    ],
    ids=["get", "delete", "post", "pure"],
)
def test_only_what_changes_nothing_may_be_sent_twice(
    request_: HTTPRequest, *, repeatable: bool
) -> None:
    assert request_.repeatable is repeatable


def test_json_that_is_ready_goes_in_as_it_is() -> None:
    request = json_request("POST", "/", {"arguments": msgspec.Raw(b'{"b": 1,  "a":2}')})
    assert request.body == b'{"arguments":{"b": 1,  "a":2}}'


def endless() -> list[object]:
    value: list[object] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    "value",
    ["secret \ud800", object(), {(1, 2): 3}, endless()],
    ids=["lone surrogate", "object", "key", "endless"],
)
def test_what_has_no_json_form_is_the_callers_fault_and_is_not_shown(value: object) -> None:
    with pytest.raises(InvalidRequest, match="cannot be written as JSON") as caught:
        json_request("POST", "/", {"options": value})
    assert "secret" not in str(caught.value)
