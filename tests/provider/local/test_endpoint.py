import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patinox.provider.local import endpoint
from patinox.provider.local.endpoint import Endpoint, hide_secrets, parse_endpoint
from patinox.provider.local.errors import InvalidConfiguration


def parse(text: str) -> str:
    return str(parse_endpoint(text, default_port=11434, setting="OLLAMA_HOST"))


def test_the_table_of_forms_holds() -> None:
    results = doctest.testmod(endpoint)
    assert results.attempted
    assert not results.failed


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("  localhost  ", "http://localhost:11434"),
        ('"127.0.0.1:80"', "http://127.0.0.1:80"),
        ("HTTPS://Example.COM", "https://example.com:443"),
        ("http://[::1]/v1/", "http://[::1]:80/v1"),
        ("[0:0:0:0:0:0:0:1]:5", "http://[::1]:5"),
        ("0:0::0", "http://[::1]:11434"),
        ("http://0.0.0.0:8080", "http://127.0.0.1:8080"),
        ("host:", "http://host:11434"),
        ("http://gpu.lan.", "http://gpu.lan.:80"),
        ("host/a%20b", "http://host:11434/a%20b"),
        ("ollama.com:443", "https://ollama.com:443"),
        ("http://ollama.com", "http://ollama.com:80"),
        ("notollama.com", "http://notollama.com:11434"),
        ("/", "http://127.0.0.1:11434"),
        ("fe80::1%eth0", "http://[fe80::1%eth0]:11434"),
    ],
)
def test_a_form_is_read_as_it_is_meant(text: str, url: str) -> None:
    assert parse(text) == url


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("host:66000", "port must be a number from 1 to 65535"),
        ("host:-1", "port must be"),
        ("host:0", "port must be"),
        ("host:80a", "port must be"),
        ("host:٣", "port must be"),
        ("[::1]:x", "port must be"),
        ("a b", "host is not a name"),
        ("-host", "host is not a name"),
        ("1:2:3", "host is not a name"),
        ("http://gpu.lan..", "host is not a name"),
        ("gpu..lan:80", "host is not a name"),
        ("[::1", "host is not a name"),
        ("host\r\nX-Evil: 1", "host is not a name"),
        ("file:///etc/passwd", "must start with http://"),
        ("unix:///run/x.sock", "must start with http://"),
        ("/run/llama.sock", "host is missing"),
        ("http:///v1", "host is missing"),
        ("http://host//v1", "path has an empty part"),
        ("http://host/v1//", "path has an empty part"),
        ("http://host/a b", "path has"),
        ("http://host/%zz", "path has"),
        ("http://host/v1?a=b", "must not have a query"),
        ("http://host#a", "must not have a query"),
        ("me@host", "keys do not belong"),
    ],
)
def test_what_is_no_address_is_refused_with_the_setting_and_the_reason(text: str, why: str) -> None:
    with pytest.raises(InvalidConfiguration) as caught:
        parse(text)
    assert str(caught.value).startswith("OLLAMA_HOST is ")
    assert why in str(caught.value)
    assert "Allowed: host" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "http://me:hunter2@host",
        "me:hunter2@host:1",
        "ftp://me:hunter2@host",
        "http://me:hun/hunter2@host",
        "http://me:h@hunter2@host",
        "http:/me:hunter2@host",
        "me:x://hunter2@host",
        "http://host?key=hunter2",
        "ftp://host/#hunter2\nhunter2",
    ],
)
def test_a_key_in_an_address_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(InvalidConfiguration) as caught:
        parse(text)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@given(st.text())
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        read = parse_endpoint(text, default_port=1)
    except InvalidConfiguration:
        return
    assert read.host
    assert parse_endpoint(str(read), default_port=2) == read


@given(
    scheme=st.sampled_from(["http", "https"]),
    host=st.one_of(
        st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?(\.[a-z]{1,9})?", fullmatch=True),
        st.ip_addresses().filter(lambda ip: not ip.is_unspecified).map(str),
    ),
    port=st.integers(1, 65535),
    prefix=st.from_regex(r"(/[a-z0-9._~-]{1,9}){0,3}", fullmatch=True),
)
def test_an_address_survives_being_written_and_read(
    scheme: str, host: str, port: int, prefix: str
) -> None:
    written = Endpoint(scheme, host, port, prefix)
    assert parse_endpoint(str(written), default_port=1) == written


@given(before=st.text(), password=st.text(), after=st.text())
def test_no_password_is_ever_repeated(before: str, password: str, after: str) -> None:
    text = f"http://{before}:hunter2{password}@{after}"
    assert "hunter2" not in hide_secrets(text)
    with pytest.raises(InvalidConfiguration) as caught:
        parse_endpoint(text, default_port=1)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "loopback"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("[::1]", True),
        ("0.0.0.0", True),
        ("192.168.1.5", False),
        ("localhost.example.com", False),
        ("127.0.0.1.example.com", False),
        ("ollama.com", False),
    ],
)
def test_loopback_is_told_by_the_address_alone(text: str, loopback: bool) -> None:  # noqa: FBT001
    assert parse_endpoint(text, default_port=1).is_loopback is loopback


def test_localhost_is_tried_in_both_families_and_another_host_as_it_is() -> None:
    both = parse_endpoint("localhost:1/v1", default_port=1).addresses()
    assert list(map(str, both)) == ["http://127.0.0.1:1/v1", "http://[::1]:1/v1"]
    one = parse_endpoint("host:1", default_port=1)
    assert one.addresses() == (one,)
