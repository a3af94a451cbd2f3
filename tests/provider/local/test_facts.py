import pytest

from patinox.provider.local.facts import capabilities, guess, parameter_count, state, tiers
from patinox.provider.types import ModelCapabilities, QualityTier, Source, SpeedTier

EMBEDS = {"supports_embeddings": True, "supports_chat": False}
SEES = {"supports_vision": True}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nomic-embed-text:latest", EMBEDS),
        ("text-embedding-acme-v1", EMBEDS),
        ("mxbai-EMBED-large", EMBEDS),
        ("bge-m3", EMBEDS),
        ("org/bge_large", EMBEDS),
        ("gte-small", EMBEDS),
        ("multilingual-e5-base", EMBEDS),
        ("all-minilm", EMBEDS),
        ("bert-base", EMBEDS),
        ("llava:7b", SEES),
        ("llama3.2-vision", SEES),
        ("qwen2.5-vl:7b", SEES),
        ("qwen3_vl", SEES),
        ("moondream", SEES),
        ("qwen3:4b", {}),
        ("phase5-base", {}),
        ("vlad", {}),
        ("me5-x", {}),
    ],
)
def test_a_name_suggests_only_what_it_suggests(name: str, expected: dict[str, bool]) -> None:
    assert guess(name) == expected


def test_what_was_told_goes_before_what_the_name_suggests() -> None:
    told = {"supports_chat": True, "supports_tools": None, "max_tokens": 512}
    assert capabilities("nomic-embed", told, source=Source.SERVER) == ModelCapabilities(
        supports_chat=True,
        supports_embeddings=True,
        max_tokens=512,
        sources={
            "supports_chat": Source.SERVER,
            "max_tokens": Source.SERVER,
            "supports_embeddings": Source.NAME,
        },
    )


def test_false_is_told_and_is_not_nothing() -> None:
    known = capabilities("llava", {"supports_vision": False}, source=Source.SERVER)
    assert known.supports_vision is False
    assert known.source("supports_vision") is Source.SERVER


def test_tiers_are_learnt_where_the_size_was() -> None:
    known = capabilities("x", {}, source=Source.MODEL_FILE, parameters=10**9)
    assert known.quality_tier is QualityTier.BASIC
    assert known.source("quality_tier") is known.source("speed_tier") is Source.MODEL_FILE


def test_of_a_plain_name_nothing_is_known() -> None:
    assert capabilities("x", {}, source=Source.SERVER) == ModelCapabilities()


@pytest.mark.parametrize(
    ("billions", "quality", "speed"),
    [
        (0.001, QualityTier.BASIC, SpeedTier.FAST),
        (8, QualityTier.BASIC, SpeedTier.FAST),
        (8.1, QualityTier.BASIC, SpeedTier.BALANCED),
        (12.9, QualityTier.BASIC, SpeedTier.BALANCED),
        (13, QualityTier.STANDARD, SpeedTier.BALANCED),
        (20, QualityTier.STANDARD, SpeedTier.BALANCED),
        (20.1, QualityTier.STANDARD, SpeedTier.THOUGHTFUL),
        (69.9, QualityTier.STANDARD, SpeedTier.THOUGHTFUL),
        (70, QualityTier.PREMIUM, SpeedTier.THOUGHTFUL),
    ],
)
def test_a_bigger_model_is_better_and_slower(
    billions: float, quality: QualityTier, speed: SpeedTier
) -> None:
    found = tiers(round(billions * 1e9))
    assert found == {"quality_tier": quality, "speed_tier": speed}


def test_a_size_beyond_every_float_has_a_tier_too() -> None:
    assert tiers(10**400)["quality_tier"] is QualityTier.PREMIUM


@pytest.mark.parametrize("parameters", [None, 0])
def test_a_model_of_unknown_size_has_no_tier(parameters: int | None) -> None:
    assert tiers(parameters) == {}


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("4.0B", 4_000_000_000),
        ("116.8B", 116_800_000_000),
        (" 137M ", 137_000_000),
        ("22.57k", 22_570),
        ("1T", 10**12),
        ("7b", 7_000_000_000),
        ("512", 512),
        ("unknown", None),
        ("8x7B", None),
        ("-1B", None),
        ("1e9B", None),
        ("4.B", None),
        ("٤B", None),
        ("9" * 9 + "B", None),
        ("", None),
        (None, None),
    ],
)
def test_a_size_is_read_as_servers_write_it(text: str | None, count: int | None) -> None:
    assert parameter_count(text) == count


def test_only_what_is_known_has_a_source() -> None:
    assert state(Source.SERVER) == {
        "context_length": None,
        "loaded_context_length": None,
        "loaded": None,
        "sources": {},
    }
    known = state(Source.MODEL_FILE, context_length=512, loaded_context_length=0, loaded=False)
    assert known == {
        "context_length": 512,
        "loaded_context_length": 0,
        "loaded": False,
        "sources": dict.fromkeys(
            ("context_length", "loaded_context_length", "loaded"), Source.MODEL_FILE
        ),
    }
