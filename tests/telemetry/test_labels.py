import doctest
import subprocess
import sys

import pytest

import patinox.telemetry
from patinox.provider.errors import ConfigurationError
from patinox.provider.local import events
from patinox.telemetry import OpenTelemetryObserver, PrometheusObserver, labels
from patinox.telemetry.labels import library


@pytest.mark.parametrize(
    ("exporter", "missing", "extra"),
    [
        (PrometheusObserver, "prometheus_client", "prometheus"),
        (OpenTelemetryObserver, "opentelemetry.trace", "otel"),
    ],
)
def test_a_library_that_is_missing_is_told_with_its_extra(
    exporter: type, missing: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ConfigurationError, match="is not installed") as caught:
        exporter()
    assert str(caught.value) == (
        f"{exporter.__name__} needs the extra `{extra}`, which is not installed."
        f' Run: pip install "patinox[{extra}]"'
    )


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(labels) == (0, 2)
    assert doctest.testmod(events) == (0, 3)


def test_a_library_that_is_broken_is_no_missing_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: str) -> None:
        raise ModuleNotFoundError(name="a_part_of_it")

    monkeypatch.setattr("patinox.telemetry.labels.import_module", broken)
    with pytest.raises(ModuleNotFoundError) as caught:
        library("prometheus_client", "prometheus", needed_by="PrometheusObserver")
    assert not isinstance(caught.value, ConfigurationError)


def test_each_exporter_is_imported_when_it_is_asked_for() -> None:
    code = (
        "import sys, patinox, patinox.telemetry as t; t.LogObserver;"
        "print({'prometheus_client', 'opentelemetry'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_package_lists_its_names_and_has_them() -> None:
    assert dir(patinox.telemetry) == sorted(patinox.telemetry.__all__)
    for name in patinox.telemetry.__all__:
        assert getattr(patinox.telemetry, name).__doc__


def test_every_event_is_public() -> None:
    kinds = {kind.__name__ for kind in events.Event.__subclasses__()}
    assert kinds <= set(patinox.telemetry.__all__)
    with pytest.raises(AttributeError, match="StatsdObserver"):
        _ = patinox.telemetry.StatsdObserver
