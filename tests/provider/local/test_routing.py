from itertools import permutations
from typing import Any

import pytest

from patinox.provider.local.routing import (
    Candidate,
    Choice,
    Speed,
    Speeds,
    pick_default,
    plan,
)
from patinox.provider.local.types import LocalService, Occupancy, ServiceInfo, ServiceStatus
from patinox.provider.types import ModelCapabilities, ModelId, ModelInfo, Timings

UP, SHAKY = ServiceStatus.AVAILABLE, ServiceStatus.DEGRADED
WARMING, DOWN = ServiceStatus.WARMING, ServiceStatus.UNAVAILABLE
LOCKED, UNKNOWN = ServiceStatus.UNAUTHORIZED, ServiceStatus.UNKNOWN
BUSY = ServiceStatus.RATE_LIMITED
QUICK = Speed(first_token=0.1, tokens_per_second=100)
SLOW = Speed(first_token=0.1, tokens_per_second=10)
ANY = ModelId("m")
MEMORIZED = "has the model in memory"


def at(
    service: str,
    status: ServiceStatus = UP,
    *,
    rank: int = 0,
    loaded: bool | None = None,
    remote: bool = False,
    **fields: Any,  # noqa: ANN401 - those of `Candidate`
) -> Candidate:
    """A service, spelled `type` or `type@place`, that has the model."""
    info = ServiceInfo(
        id=service,
        service_type=service.partition("@")[0],
        label=service,
        endpoint="http://x",
        status=status,
    )
    model = ModelInfo(id="m", service=service, loaded=loaded, remote=remote)
    return Candidate(service=info, model=model, rank=rank, **fields)


def load(in_flight: int, waiting: int = 0, slots: int | None = None) -> dict[str, Any]:
    return {"occupancy": Occupancy(in_flight=in_flight, waiting=waiting, slots=slots)}


CASES: dict[str, tuple[str, list[Candidate], list[tuple[str, str]]]] = {
    "nobody": ("auto", [], []),
    "one": ("auto", [at("ollama")], [("ollama", "the only service that has the model")]),
    "one that is down": (
        "ollama",
        [at("ollama", DOWN)],
        [("ollama", "the only service that has the model")],
    ),
    "the usual order": (
        "auto",
        [at("lmstudio", rank=2), at("ollama", rank=1)],
        [("ollama", "is available"), ("lmstudio", "is available")],
    ),
    "two of a kind": (
        "auto",
        [at("ollama@b"), at("ollama@a")],
        [("ollama@a", "is available"), ("ollama@b", "is available")],
    ),
    "in memory before the usual order": (
        "auto",
        [at("ollama", rank=1, loaded=False), at("lmstudio", rank=2, loaded=True)],
        [("lmstudio", "has the model in memory"), ("ollama", "is available")],
    ),
    "preferred before in memory": (
        "ollama",
        [at("ollama"), at("lmstudio", loaded=True)],
        [("ollama", "preferred"), ("lmstudio", "has the model in memory")],
    ),
    "preferred by its id": (
        "ollama@b",
        [at("ollama@a"), at("ollama@b")],
        [("ollama@b", "preferred"), ("ollama@a", "is available")],
    ),
    "preferred by its id before preferred by its kind": (
        "ollama",
        [at("ollama@a", rank=1, loaded=True), at("lmstudio", loaded=True), at("ollama", rank=3)],
        [("ollama", "preferred"), ("ollama@a", "preferred"), ("lmstudio", MEMORIZED)],
    ),
    "health before preferred": (
        "ollama",
        [at("ollama", SHAKY, loaded=True), at("lmstudio")],
        [("lmstudio", "is available"), ("ollama", "preferred")],
    ),
    "every state of health": (
        "auto",
        [
            at("g", UP),
            at("f", SHAKY),
            at("e", BUSY),
            at("d", WARMING),
            at("a", DOWN),
            at("b", LOCKED),
            at("c", UNKNOWN),
        ],
        [
            ("g", "is available"),
            ("f", "is degraded"),
            ("e", "is rate limited"),
            ("d", "is warming"),
            ("a", "is unavailable"),
            ("b", "is unauthorized"),
            ("c", "is unknown"),
        ],
    ),
    "this machine before the cloud": (
        "ollama",
        [at("ollama", loaded=True, remote=True), at("lmstudio", DOWN)],
        [("lmstudio", "runs on this machine"), ("ollama", "preferred")],
    ),
    "one that is being tried by another request last": (
        "ollama",
        [at("ollama", SHAKY, admitted=False), at("lmstudio", WARMING)],
        [("lmstudio", "is warming"), ("ollama", "preferred")],
    ),
    "a free place before a busy one": (
        "auto",
        [at("ollama", rank=1, loaded=True, **load(1)), at("lmstudio", rank=2, loaded=True)],
        [("lmstudio", "has a free place"), ("ollama", "has the model in memory")],
    ),
    "the shorter line": (
        "auto",
        [at("a", **load(2, 3)), at("b", **load(2, 2))],
        [("b", "is less busy"), ("a", "is available")],
    ),
    "a server that works on several at once is free as long as one of its places is": (
        "auto",
        [at("a", rank=1, **load(3, slots=4)), at("b", rank=2)],
        [("a", "is available"), ("b", "is available")],
    ),
    "in memory and busy before on disk and free": (
        "auto",
        [at("a", loaded=True, **load(1)), at("b", loaded=False)],
        [("a", "has the model in memory"), ("b", "is available")],
    ),
    "fast before the usual order": (
        "auto",
        [at("a", rank=1, speed=SLOW), at("b", rank=2, speed=QUICK)],
        [("b", "was faster lately"), ("a", "is available")],
    ),
    "a speed that is not known is compared with none": (
        "auto",
        [at("a", rank=1, speed=SLOW), at("b", rank=2, speed=QUICK), at("c", rank=3)],
        [("a", "is available"), ("b", "is available"), ("c", "is available")],
    ),
    "free before fast": (
        "auto",
        [at("a", speed=QUICK, **load(1)), at("b", speed=SLOW)],
        [("b", "has a free place"), ("a", "is available")],
    ),
    "fast among those that are alike so far": (
        "auto",
        [
            at("a", rank=1, loaded=True, speed=SLOW),
            at("b", rank=2, loaded=True, speed=QUICK),
            at("c"),
        ],
        [
            ("b", "was faster lately"),
            ("a", "has the model in memory"),
            ("c", "is available"),
        ],
    ),
}


@pytest.mark.parametrize(("preference", "candidates", "expected"), CASES.values(), ids=CASES)
def test_who_is_asked_first_and_why(
    preference: str, candidates: list[Candidate], expected: list[tuple[str, str]]
) -> None:
    wanted = tuple(
        Choice(service=service, model=ModelId("m", service), reason=reason)
        for service, reason in expected
    )
    for order in permutations(candidates[:4]):
        assert plan(ANY, [*order, *candidates[4:]], preference=preference) == wanted


def test_the_reason_of_one_that_was_named_is_its_name() -> None:
    (choice,) = plan(ModelId("m", "ollama"), [at("ollama")], preference="lmstudio")
    assert choice.reason == "asked for by name"


def test_nobody_is_preferred_unless_told() -> None:
    candidates = [at("lmstudio", rank=2), at("ollama", rank=1)]
    assert plan(ANY, candidates) == plan(ANY, candidates, preference=LocalService.AUTO)


def test_what_is_about_as_fast_keeps_the_usual_order() -> None:
    nearly = Speed(first_token=0.1, tokens_per_second=101)
    choices = plan(ANY, [at("a", rank=1, speed=QUICK), at("b", rank=2, speed=nearly)])
    assert [choice.service for choice in choices] == ["a", "b"]


def test_what_takes_a_third_longer_is_slower() -> None:
    slower = Speed(first_token=0.1, tokens_per_second=75)
    choices = plan(ANY, [at("a", rank=1, speed=slower), at("b", rank=2, speed=QUICK)])
    assert [choice.service for choice in choices] == ["b", "a"]


def test_a_speed_is_the_moving_average_of_finished_answers() -> None:
    speeds = Speeds()
    assert speeds.of("ollama", "m") is None
    speeds.note("ollama", "m", Timings(time_to_first_token=1.0, tokens_per_second=10.0))
    assert speeds.of("ollama", "m") == Speed(first_token=1.0, tokens_per_second=10.0)
    speeds.note("ollama", "m", Timings(time_to_first_token=2.0, tokens_per_second=20.0))
    after = speeds.of("ollama", "m")
    assert after is not None
    assert after.first_token == pytest.approx(1.3)
    assert after.tokens_per_second == pytest.approx(13.0)
    assert after.usual_answer == pytest.approx(1.3 + 256 / 13)
    assert speeds.of("ollama", "n") is speeds.of("lmstudio", "m") is None


@pytest.mark.parametrize(
    "timings",
    [
        Timings(),
        Timings(time_to_first_token=1.0),
        Timings(tokens_per_second=10.0),
        Timings(time_to_first_token=1.0, tokens_per_second=0.0),
    ],
    ids=["nothing", "no speed", "no beginning", "speed 0"],
)
def test_times_that_nobody_knows_are_no_speed(timings: Timings) -> None:
    speeds = Speeds()
    speeds.note("ollama", "m", timings)
    assert speeds.of("ollama", "m") is None


def test_loading_a_model_does_not_make_it_slow() -> None:
    speeds = Speeds()
    for load_seconds, name in ((4.0, "a"), (9.0, "b")):
        times = Timings(time_to_first_token=5.0, load_seconds=load_seconds, tokens_per_second=10.0)
        speeds.note("ollama", name, times)
    first = [speeds.of("ollama", name) for name in ("a", "b")]
    assert [speed and speed.first_token for speed in first] == [1.0, 0.0]


def model(  # noqa: PLR0913  what a model can be told by
    name: str,
    *,
    service: str = "up",
    chat: bool | None = True,
    loaded: bool | None = None,
    size: int | None = None,
    parameters: int | None = None,
    remote: bool = False,
    demo: bool = False,
    vision: bool | None = None,
) -> ModelInfo:
    return ModelInfo(
        id=name,
        service=service,
        capabilities=ModelCapabilities(supports_chat=chat, supports_vision=vision),
        loaded=loaded,
        size_bytes=size,
        parameter_count=parameters,
        remote=remote,
        demo=demo,
    )


HEALTH = {"up": UP, "shaky": SHAKY, "warming": WARMING, "down": DOWN, "locked": LOCKED}
SMALLEST, MEMORY = "the smallest chat model", "in memory"
DEFAULTS: dict[str, tuple[list[ModelInfo], tuple[str, str] | None]] = {
    "nothing": ([], None),
    "in memory before smaller": (
        [model("small", size=1), model("big", size=9, loaded=True)],
        ("big", MEMORY),
    ),
    "the smallest in memory": (
        [model("b", size=2, loaded=True), model("a", size=9, loaded=True), model("c", size=1)],
        ("b", MEMORY),
    ),
    "the smallest": ([model("a", size=9), model("b", size=2)], ("b", SMALLEST)),
    "by parameters where no size is told": (
        [model("a", size=9), model("b", parameters=2), model("c")],
        ("b", SMALLEST),
    ),
    "nothing is a size": ([model("a", size=1), model("b", size=0)], ("b", SMALLEST)),
    "by name where nothing decides": ([model("b"), model("a")], ("a", SMALLEST)),
    "known to chat before perhaps": (
        [model("perhaps", chat=None, size=1), model("surely", size=9)],
        ("surely", SMALLEST),
    ),
    "perhaps before none": ([model("perhaps", chat=None)], ("perhaps", SMALLEST)),
    "an embedding model never": ([model("embed", chat=False, loaded=True, size=1)], None),
    "a cloud model never": ([model("cloud", remote=True, loaded=True, size=1)], None),
    "the toy last": (
        [model("toy", demo=True, loaded=True, size=1), model("perhaps", chat=None, size=9)],
        ("perhaps", SMALLEST),
    ),
    "the toy alone": (
        [model("toy", demo=True, loaded=True), model("cloud", remote=True)],
        ("toy", "only the demo model is here"),
    ),
    "a service that is not well": ([model("a", service="shaky")], ("a", SMALLEST)),
    "a service that is warming": ([model("a", service="warming")], ("a", SMALLEST)),
    "a service that is down": ([model("a", service="down", loaded=True)], None),
    "a service that wants a key": ([model("a", service="locked", loaded=True)], None),
    "a service nobody knows": ([model("a", service="elsewhere", loaded=True)], None),
}
PREFERRED = {"up": 2, "warming": 1, "shaky": 0}


@pytest.mark.parametrize(
    ("services", "chosen"),
    [
        (("up", "warming", "shaky"), "shaky"),
        (("up", "warming"), "warming"),
        (("up", "down"), "up"),
    ],
)
def test_the_default_is_on_the_service_that_is_preferred_most(
    services: tuple[str, ...], chosen: str
) -> None:
    models = [
        model("m", service=service, size=size, loaded=service == "up")
        for size, service in enumerate(services)
    ]
    found = pick_default(models, HEALTH, preferred=PREFERRED)
    assert found is not None
    assert found[0].service == chosen


@pytest.mark.parametrize(("models", "expected"), DEFAULTS.values(), ids=DEFAULTS)
def test_which_model_is_used_where_none_is_named(
    models: list[ModelInfo], expected: tuple[str, str] | None
) -> None:
    for order in permutations(models):
        found = pick_default(order, HEALTH)
        assert (found and (found[0].id, found[1])) == expected


def test_a_preferred_service_goes_before_what_is_in_memory_elsewhere() -> None:
    models = [model("a", loaded=True, size=1), model("b", service="shaky", size=9)]
    for order in permutations(models):
        chosen = pick_default(order, HEALTH, preferred={"shaky": 0})
        assert chosen is not None
        assert (chosen[0].id, chosen[1]) == ("b", SMALLEST)


def test_for_pictures_only_a_model_that_surely_sees_them_is_chosen() -> None:
    models = [model("blind", vision=False, size=1), model("perhaps", loaded=True)]
    seeing = model("seeing", vision=True, size=9)
    assert pick_default(models, HEALTH, vision=True) is None
    assert pick_default([*models, seeing], HEALTH, vision=True) == (
        seeing,
        "the smallest that sees pictures",
    )
    small = model("small", size=1)
    assert pick_default([seeing, small], HEALTH) == (small, SMALLEST)
