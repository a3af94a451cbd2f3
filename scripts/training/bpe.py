"""Byte-level BPE in plain Python: llama.cpp's tokenizer `gpt2` with pre-tokenizer `gpt-2`."""

import re
from collections import Counter

SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"]

# GPT-2's pre-tokenizer; `re` has no \p{L}, for which [^\W\d_] stands.
_WORD = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?[^\W\d_]+| ?\d+| ?(?:[^\s\w]|_)+|\s+(?!\S)|\s+")
_SPECIAL = re.compile("(" + "|".join(map(re.escape, SPECIALS)) + ")")
_NEVER = 1 << 30


def _printable_bytes() -> dict[int, str]:
    """A visible character for each byte, as GPT-2 has it."""
    visible = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return {byte: chr(byte) for byte in visible} | {
        byte: chr(256 + number) for number, byte in enumerate(hidden)
    }


_CHARACTER = _printable_bytes()


def vocabulary(merges: list[tuple[str, str]]) -> list[str]:
    """The tokens by id: the special ones, 256 bytes, one for each merge."""
    return SPECIALS + [_CHARACTER[byte] for byte in range(256)] + [a + b for a, b in merges]


def train(texts: list[str], merge_count: int) -> list[tuple[str, str]]:
    """The merges of the pairs that are most frequent in `texts`."""
    counts = Counter(
        tuple(_CHARACTER[byte] for byte in word.encode())
        for text in texts
        for word in _WORD.findall(text)
    )
    words = dict(counts)
    merges: list[tuple[str, str]] = []
    while len(merges) < merge_count:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, count in words.items():
            for pair in zip(word, word[1:], strict=False):
                pairs[pair] += count
        best, count = max(pairs.items(), key=lambda item: (item[1], item[0]))
        if count < 2:
            break
        merges.append(best)
        words = _merged(words, best)
    return merges


def _merged(words: dict[tuple[str, ...], int], pair: tuple[str, str]):
    merged: dict[tuple[str, ...], int] = {}
    for word, count in words.items():
        pieces, at = [], 0
        while at < len(word):
            both = word[at : at + 2] == pair
            pieces.append("".join(pair) if both else word[at])
            at += 2 if both else 1
        merged[tuple(pieces)] = merged.get(tuple(pieces), 0) + count
    return merged


class BPE:
    """The tokenizer that a list of merges makes."""

    def __init__(self, merges: list[tuple[str, str]]) -> None:
        self.vocabulary = vocabulary(merges)
        self._rank = {pair: rank for rank, pair in enumerate(merges)}
        self._id = {token: number for number, token in enumerate(self.vocabulary)}
        self._byte = {character: byte for byte, character in _CHARACTER.items()}
        self._known: dict[str, list[int]] = {}

    def encode(self, text: str) -> list[int]:
        ids: list[int] = []
        for part in _SPECIAL.split(text):
            if part in SPECIALS:
                ids.append(SPECIALS.index(part))
            else:
                for word in _WORD.findall(part):
                    ids += self._encode_word(word)
        return ids

    def decode(self, ids: list[int]) -> str:
        content = bytearray()
        for number in ids:
            token = self.vocabulary[number]
            if number < len(SPECIALS):
                content += token.encode()
            else:
                content += bytes(self._byte[character] for character in token)
        return content.decode("utf-8", "replace")

    def _encode_word(self, word: str) -> list[int]:
        if word not in self._known:
            pieces = [_CHARACTER[byte] for byte in word.encode()]
            while len(pieces) > 1:
                pairs = zip(pieces, pieces[1:], strict=False)
                rank, at = min((self._rank.get(pair, _NEVER), at) for at, pair in enumerate(pairs))
                if rank == _NEVER:
                    break
                pieces[at : at + 2] = ["".join(pieces[at : at + 2])]
            self._known[word] = [self._id[piece] for piece in pieces]
        return self._known[word]
