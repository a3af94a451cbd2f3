"""What is measured: who, which work, and what is to be reached."""

from typing import NamedTuple


class Candidate(NamedTuple):
    """A client on one of the two languages that servers speak."""

    label: str
    module: str
    style: str
    environment: str

    @property
    def key(self) -> str:
        """Its name among the results."""
        return f"{self.module}/{self.style}"

    @property
    def ours(self) -> bool:
        """Whether it is Patinox: it is shown all services at once."""
        return self.environment == "patinox"


class Work(NamedTuple):
    """One kind of work; `model` is what the stub calls its behaviour."""

    key: str
    title: str
    work: str
    model: str
    pieces: int = 0
    at_once: int = 1
    paced: bool = False
    only: tuple[str, ...] = ()

    @property
    def units(self) -> int:
        """By how much a block's time is divided besides the number of calls."""
        return self.at_once * (self.pieces if self.work == "stream" else 1)


OLLAMA, OPENAI = "ollama", "openai"

CANDIDATES = tuple(
    Candidate(label, module, style, environment)
    for label, module, environment, styles in (
        ("socket (the floor)", "floor", "aiohttp", (OLLAMA, OPENAI)),
        ("aiohttp direct: streamed, msgspec", "aiohttp_direct", "aiohttp", (OLLAMA, OPENAI)),
        ("aiohttp direct: one document", "aiohttp_document", "aiohttp", (OLLAMA, OPENAI)),
        ("aiohttp plain, json", "aiohttp_plain", "aiohttp", (OLLAMA,)),
        ("httpx plain, json", "httpx_plain", "httpx", (OLLAMA,)),
        ("ollama", "ollama_async", "ollama", (OLLAMA,)),
        ("ollama, blocking", "ollama_blocking", "ollama", (OLLAMA,)),
        ("openai", "openai_async", "openai", (OPENAI,)),
        ("openai, blocking", "openai_blocking", "openai", (OPENAI,)),
        ("any-llm-sdk", "any_llm_async", "any-llm", (OLLAMA, OPENAI)),
        ("langchain-ollama", "langchain_ollama_async", "langchain-ollama", (OLLAMA,)),
        ("litellm", "litellm_async", "litellm", (OLLAMA, OPENAI)),
        ("**Patinox**", "patinox_async", "patinox", (OLLAMA, OPENAI)),
        ("**Patinox**, blocking", "patinox_blocking", "patinox", (OLLAMA, OPENAI)),
        ("of Patinox: the transport alone", "patinox_transport", "patinox", (OLLAMA,)),
        ("of Patinox: all but the network", "patinox_without_network", "patinox", (OLLAMA,)),
        ("of Patinox: these two in turn", "patinox_in_turn", "patinox", (OLLAMA,)),
    )
    for style in styles
)

_WHOLE = ("aiohttp_direct", "aiohttp_document", "ollama_async", "openai_async", "patinox_async")

WORKS = (
    Work("chat_20", "Whole chat, 20 pieces", "chat", "fast-20", 20),
    Work("chat_200", "Whole chat, 200 pieces", "chat", "fast-200", 200),
    Work("chat_64", "Whole chat, 20 pieces, 64 at once", "chat", "fast-20", 20, at_once=64),
    Work("stream_200", "Stream of 200 pieces, back to back", "stream", "fast-200", 200),
    Work("embed_float", "Vectors, 32 x 768, numbers as text", "embed_float", "vectors"),
    Work("embed_base64", "Vectors, 32 x 768, in base64", "embed_base64", "vectors"),
    Work(
        "stream_paced",
        "Stream of 200 pieces, one every 5 ms",
        "stream",
        "paced-200",
        200,
        paced=True,
    ),
    Work(
        "chat_paced",
        "Whole chat, 200 pieces, one every 5 ms",
        "chat",
        "paced-200",
        200,
        paced=True,
        only=_WHOLE,
    ),
)


def model_name(work: Work, style: str) -> str:
    """What the stub's service of this language calls the model."""
    if style == OLLAMA:
        return f"{work.model}:latest"
    return f"cpp-{work.model}" if work.key == "embed_base64" else f"lms-{work.model}"


# Only whole chats are asked of these, or only some of them.
_CHATS = {
    "aiohttp_document": ("chat_20", "chat_200", "chat_64", "chat_paced"),
    "patinox_transport": ("chat_20", "chat_200"),
    "patinox_without_network": ("chat_20", "chat_200"),
    "patinox_in_turn": ("chat_20", "chat_200"),
}
# Ollama's own language has no base64, litellm asks for text, any-llm-sdk never does.
_VECTORS = {"embed_base64": "litellm_async/openai", "embed_float": "any_llm_async/openai"}


def does(candidate: Candidate, work: Work) -> bool:
    """Whether a client can do a kind of work, or has no such call."""
    if work.only and candidate.module not in work.only:
        return False
    if work.key not in _CHATS.get(candidate.module, (work.key,)):
        return False
    if "blocking" in candidate.module and work.at_once > 1:
        return False
    if work.key == "embed_base64" and candidate.style == OLLAMA:
        return False
    return _VECTORS.get(work.key) != candidate.key


class Target(NamedTuple):
    """`ours` is to cost at most `limit` times what `theirs` does, by one measure of one work."""

    what: str
    work: str
    measure: str  # wall or cpu
    ours: str
    theirs: str
    limit: float


_P, _D = "patinox_async", "aiohttp_direct"
TARGETS = (
    Target("aiohttp direct, Ollama", "chat_20", "wall", f"{_P}/ollama", f"{_D}/ollama", 1.10),
    Target("aiohttp direct, OpenAI", "chat_20", "wall", f"{_P}/openai", f"{_D}/openai", 1.10),
    Target("aiohttp direct, Ollama", "chat_200", "wall", f"{_P}/ollama", f"{_D}/ollama", 1.10),
    Target("aiohttp direct, OpenAI", "chat_200", "wall", f"{_P}/openai", f"{_D}/openai", 1.10),
    Target("`ollama`, unstreamed", "chat_20", "cpu", f"{_P}/ollama", "ollama_async/ollama", 1 / 2),
    Target("`openai`, unstreamed", "chat_20", "cpu", f"{_P}/openai", "openai_async/openai", 1 / 4),
    Target(
        "`litellm`, unstreamed", "chat_20", "cpu", f"{_P}/ollama", "litellm_async/ollama", 1 / 12
    ),
    Target(
        "aiohttp, one document, Ollama",
        "chat_paced",
        "wall",
        f"{_P}/ollama",
        "aiohttp_document/ollama",
        1.01,
    ),
    Target(
        "aiohttp, one document, OpenAI",
        "chat_paced",
        "wall",
        f"{_P}/openai",
        "aiohttp_document/openai",
        1.01,
    ),
    Target("aiohttp direct, Ollama", "chat_64", "wall", f"{_P}/ollama", f"{_D}/ollama", 1.15),
    Target("`ollama`", "chat_64", "cpu", f"{_P}/ollama", "ollama_async/ollama", 1 / 6),
    Target("the floor, Ollama", "stream_200", "cpu", f"{_P}/ollama", "floor/ollama", 1.35),
    Target("the floor, OpenAI", "stream_200", "cpu", f"{_P}/openai", "floor/openai", 1.35),
    Target("`ollama`", "stream_200", "cpu", f"{_P}/ollama", "ollama_async/ollama", 1 / 3),
    Target("`openai`", "stream_200", "cpu", f"{_P}/openai", "openai_async/openai", 1 / 15),
    Target("aiohttp direct, Ollama", "stream_paced", "wall", f"{_P}/ollama", f"{_D}/ollama", 1.01),
    Target("aiohttp direct, OpenAI", "stream_paced", "wall", f"{_P}/openai", f"{_D}/openai", 1.01),
    Target("`ollama`", "embed_float", "wall", f"{_P}/ollama", "ollama_async/ollama", 1 / 2),
    Target(
        "`ollama`, which has text only",
        "embed_base64",
        "wall",
        f"{_P}/openai",
        "ollama_async/ollama",
        1 / 8,
    ),
)
