"""Train the demo model: `python train.py`, then `python train.py --resume --hold 0.05 ...`.

It writes `build/merges.json` (the tokenizer) and `build/weights.pt`. The schedule follows the
CPU time used, so that a busy machine changes nothing but the wall time.
"""

import argparse
import json
import math
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from bpe import BPE, SPECIALS, train
from corpus import make_conversation
from model import Config, Llama
from torch import Tensor

BUILD = Path(__file__).parent / "build"
MERGES = BUILD / "merges.json"
WEIGHTS = BUILD / "weights.pt"

ROW = 320  # tokens
ROWS = 13  # in a batch
POOL = 60  # conversations to choose from when a row is filled
PAD = SPECIALS.index("<|pad|>")
WARM_UP = 60  # steps
SHOW_SECONDS = 20

ANSWER, HEADER, OTHER = 1.0, 0.1, 0.05  # how much a token counts in the loss


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cpu-seconds", type=float, default=715)
    parser.add_argument("--learning-rate", type=float, default=4e-3)
    parser.add_argument("--hold", type=float, default=0.3, help="part of the time at full rate")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--resume", action="store_true", help="go on from the weights of a run")
    return parser.parse_args()


class Document(NamedTuple):
    ids: list[int]
    weights: list[float]


def document(rng: random.Random, tokenizer: BPE) -> Document:
    """A conversation as the chat template renders it, and how much each token counts."""
    ids: list[int] = []
    weights: list[float] = []
    for role, text in make_conversation(rng):
        answers = role == "assistant"
        for piece, weight in (
            (f"<|im_start|>{role}\n", HEADER if answers else OTHER),
            (f"{text}<|im_end|>", ANSWER if answers else OTHER),
            ("\n", OTHER),
        ):
            encoded = tokenizer.encode(piece)
            ids += encoded
            weights += [weight] * len(encoded)
    return Document(ids[: ROW + 1], weights[: ROW + 1])


class Batch(NamedTuple):
    inputs: Tensor
    targets: Tensor
    weights: Tensor
    mask: Tensor  # a token sees those before it in its own conversation


def batches(rng: random.Random, tokenizer: BPE) -> Iterator[Batch]:
    """Rows packed, first fit, with whole conversations."""
    pool: list[Document] = []
    causal = torch.tril(torch.ones(ROW, ROW, dtype=torch.bool))
    while True:
        ids = np.full((ROWS, ROW + 1), PAD, np.int64)
        weights = np.zeros((ROWS, ROW + 1), np.float32)
        owners = np.full((ROWS, ROW + 1), -1, np.int64)
        for row in range(ROWS):
            at = owner = 0
            while at <= ROW - 8:
                pool += [document(rng, tokenizer) for _ in range(POOL - len(pool))]
                fits = (n for n, made in enumerate(pool) if len(made.ids) <= ROW + 1 - at)
                if (number := next(fits, None)) is None:
                    break
                chosen = pool.pop(number)
                end = at + len(chosen.ids)
                ids[row, at:end] = chosen.ids
                weights[row, at + 1 : end] = chosen.weights[1:]
                owners[row, at:end] = owner
                at, owner = end, owner + 1
        owner_of = torch.from_numpy(owners)[:, :-1]
        mask = (owner_of[:, None, :, None] == owner_of[:, None, None, :]) & causal
        tokens = torch.from_numpy(ids)
        yield Batch(tokens[:, :-1], tokens[:, 1:], torch.from_numpy(weights)[:, 1:], mask)


def merges_for(rng: random.Random, count: int) -> list[tuple[str, str]]:
    texts = ["\n".join(text for _, text in make_conversation(rng)) for _ in range(20_000)]
    return train(texts, count)


def optimizer_of(model: Llama) -> torch.optim.Optimizer:
    matrices = [p for p in model.parameters() if p.ndim == 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.02}, {"params": vectors, "weight_decay": 0}]
    return torch.optim.AdamW(groups, betas=(0.9, 0.97), eps=1e-9)


def rate_at(step: int, done: float, hold: float) -> float:
    """The part of the learning rate: warm up, hold, then half a cosine down to a hundredth."""
    warm = min(1.0, (step + 1) / WARM_UP)
    if done < hold:
        return warm
    fall = 0.5 * (1 + math.cos(math.pi * (done - hold) / (1 - hold)))
    return warm * (fall * 0.99 + 0.01)


def fit(model: Llama, source: Iterator[Batch], chosen: argparse.Namespace) -> None:
    optimizer = optimizer_of(model)
    started, shown, step, average = time.process_time(), 0.0, 0, math.nan
    while (done := (time.process_time() - started) / chosen.cpu_seconds) < 1:
        for group in optimizer.param_groups:
            group["lr"] = chosen.learning_rate * rate_at(step, done, chosen.hold)
        batch = next(source)
        logits = model(batch.inputs, batch.mask).flatten(0, 1)
        losses = F.cross_entropy(logits, batch.targets.flatten(), reduction="none")
        weights = batch.weights.flatten()
        loss = (losses * weights).sum() / weights.sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        of_answers = losses.detach()[weights == ANSWER].mean().item()
        average = of_answers if step == 0 else 0.98 * average + 0.02 * of_answers
        step += 1
        if time.monotonic() - shown > SHOW_SECONDS:
            shown = time.monotonic()
            print(f"{done:4.0%} step {step} loss of answers {average:.4f}", flush=True)
            torch.save(model.state_dict(), WEIGHTS)
    torch.save(model.state_dict(), WEIGHTS)
    print(f"done: {step} steps, loss of answers {average:.4f}")


def main() -> None:
    chosen = options()
    torch.manual_seed(0)
    torch.set_num_threads(chosen.threads)
    BUILD.mkdir(exist_ok=True)
    rng, config = random.Random(0), Config()
    model = Llama(config)
    if chosen.resume:  # with the same tokenizer: the ids of tokens depend on the merges
        model.load_state_dict(torch.load(WEIGHTS))
        rng = random.Random(1)
    else:
        merges = merges_for(rng, config.vocab_size - len(SPECIALS) - 256)
        MERGES.write_text(json.dumps(merges), encoding="utf-8")
    merges = [(a, b) for a, b in json.loads(MERGES.read_text(encoding="utf-8"))]
    fit(model, batches(rng, BPE(merges)), chosen)


if __name__ == "__main__":
    main()
