from typing import Any

import pytest
from msgspec.structs import replace

from patinox.cli.advice import WELL, Address, Diagnosis, advise
from patinox.cli.unanswered import Unanswered
from patinox.provider.local.environment import VariableFate
from patinox.provider.local.types import ServiceInfo, ServiceStatus

VERSIONS = {"patinox": "1", "xllamacpp": "1"}
OLLAMA = ServiceInfo(
    id="ollama",
    service_type="ollama",
    label="Ollama",
    endpoint="http://127.0.0.1:11434",
    models=("m",),
    status=ServiceStatus.AVAILABLE,
)
ADDRESS = Address(
    endpoint="http://127.0.0.1:11434",
    setting="OLLAMA_ENDPOINT",
    expected="ollama",
    asked=("GET /",),
    answered=True,
    service="ollama",
    version="1",
    reason="proved to be Ollama",
    seconds=0.1,
)
REFUSED = Unanswered(
    address="127.0.0.1:11434",
    setting="OLLAMA_ENDPOINT",
    reason="could not be reached",
    refused=True,
)
WELL_SEEN = Diagnosis(versions=VERSIONS, services=(OLLAMA,), addresses=(ADDRESS,))


def test_where_nothing_is_amiss_nothing_is_advised() -> None:
    assert advise(WELL_SEEN) == [WELL]


def service(**changes: Any) -> Diagnosis:  # noqa: ANN401 - fields of a struct
    return replace(WELL_SEEN, services=(replace(OLLAMA, **changes),))


def address(**changes: Any) -> Diagnosis:  # noqa: ANN401 - fields of a struct
    return replace(WELL_SEEN, addresses=(replace(ADDRESS, **changes),))


@pytest.mark.parametrize(
    ("found", "advice"),
    [
        (replace(WELL_SEEN, config_error="`x` is 1."), "Mend the configuration: `x` is 1."),
        (
            replace(WELL_SEEN, unanswered=(REFUSED,)),
            "OLLAMA_ENDPOINT names 127.0.0.1:11434, where nothing listens: start that server",
        ),
        (
            replace(WELL_SEEN, unanswered=(replace(REFUSED, refused=False),)),
            "OLLAMA_ENDPOINT names 127.0.0.1:11434, which could not be reached: see that server's",
        ),
        (replace(WELL_SEEN, warnings=("There is no /models.",)), "There is no /models."),
        (
            replace(
                WELL_SEEN,
                environment=(VariableFate("OLLAMA_API_KEY", "***", "ignored: it needs more"),),
            ),
            "OLLAMA_API_KEY is ignored: it needs more",
        ),
        (
            address(service="lmstudio"),
            "use LMSTUDIO_ENDPOINT for that. Meanwhile the usual address of ollama is not looked",
        ),
        (
            replace(
                WELL_SEEN,
                environment=(VariableFate("PATINOX_X", "***", "ignored; did you mean Y?"),),
            ),
            "PATINOX_X is ignored; did you mean Y?",
        ),
        (
            service(status=ServiceStatus.UNAUTHORIZED, service_type="lmstudio"),
            "wants a key: set LM_API_TOKEN.",
        ),
        (
            service(status=ServiceStatus.UNAUTHORIZED, service_type="plugin"),
            "set its key in the configuration file.",
        ),
        (service(status=ServiceStatus.WARMING), "is not ready yet"),
        (service(status=ServiceStatus.RATE_LIMITED), "is not ready yet"),
        (service(status=ServiceStatus.DEGRADED), "is degraded: see its log"),
        (
            address(service=None, setting="default"),
            "If your server is elsewhere, name its address: OLLAMA_ENDPOINT.",
        ),
        (address(service=None, expected=None), "name its address: LOCAL_ENDPOINT."),
        (service(models=()), "Ollama has no models"),
        (
            Diagnosis(versions=VERSIONS, starts=("`a`", "`b`")),
            "No model server answers. Start one: `a` or `b`.",
        ),
        (Diagnosis(versions=VERSIONS, container=True), "host.docker.internal"),
        (Diagnosis(versions={"xllamacpp": None}), 'pip install "patinox[embedded]"'),
    ],
)
def test_what_is_amiss_has_its_advice(found: Diagnosis, advice: str) -> None:
    assert any(advice in each for each in advise(found))


def test_the_likeliest_comes_first() -> None:
    found = replace(
        service(models=()),
        config_error="wrong",
        unanswered=(REFUSED,),
    )
    assert [each.split()[0] for each in advise(found)] == ["Mend", "OLLAMA_ENDPOINT", "Ollama"]


def test_a_usual_address_where_nothing_answers_is_no_fault() -> None:
    found = address(setting="default", answered=False, service=None)
    assert advise(found) == [WELL]


@pytest.mark.parametrize(
    "fate", ["ignored: empty is not set", "ignored: a key or an address alone never selects"]
)
def test_a_variable_that_is_meant_for_others_is_no_fault(fate: str) -> None:
    found = replace(WELL_SEEN, environment=(VariableFate("OPENAI_API_KEY", "***", fate),))
    assert advise(found) == [WELL]
