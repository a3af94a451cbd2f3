"""The Llama architecture in torch. Modules bear the names of llama.cpp's tensors."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Config(NamedTuple):
    """The shape of the model, in llama.cpp's words."""

    vocab_size: int = 1024
    context_length: int = 2048
    embedding_length: int = 128
    block_count: int = 4
    head_count: int = 4
    head_count_kv: int = 2
    feed_forward_length: int = 352
    rms_epsilon: float = 1e-5
    rope_base: float = 10000.0

    @property
    def head_length(self) -> int:
        return self.embedding_length // self.head_count


class RMSNorm(nn.Module):
    def __init__(self, length: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(length))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.epsilon) * self.weight


def rope_tables(count: int, head_length: int, base: float) -> tuple[Tensor, Tensor]:
    frequencies = base ** (-torch.arange(0, head_length, 2).float() / head_length)
    angles = torch.arange(count).float()[:, None] * frequencies[None]
    return angles.cos(), angles.sin()


def rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate interleaved pairs, as llama.cpp does for `llama`: so nothing is permuted on export."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)


class Block(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        length, kv_length = config.embedding_length, config.head_count_kv * config.head_length
        self.attn_norm = RMSNorm(length, config.rms_epsilon)
        self.ffn_norm = RMSNorm(length, config.rms_epsilon)
        self.attn_q = nn.Linear(length, length, bias=False)
        self.attn_k = nn.Linear(length, kv_length, bias=False)
        self.attn_v = nn.Linear(length, kv_length, bias=False)
        self.attn_output = nn.Linear(length, length, bias=False)
        self.ffn_gate = nn.Linear(length, config.feed_forward_length, bias=False)
        self.ffn_up = nn.Linear(length, config.feed_forward_length, bias=False)
        self.ffn_down = nn.Linear(config.feed_forward_length, length, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None) -> Tensor:
        x = x + self._attention(self.attn_norm(x), cos, sin, mask)
        h = self.ffn_norm(x)
        return x + self.ffn_down(F.silu(self.ffn_gate(h)) * self.ffn_up(h))

    def _attention(self, h: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None) -> Tensor:
        config = self.config
        q = self._heads(self.attn_q(h), config.head_count)
        k = self._heads(self.attn_k(h), config.head_count_kv)
        v = self._heads(self.attn_v(h), config.head_count_kv)
        q, k = rope(q, cos, sin), rope(k, cos, sin)
        group = config.head_count // config.head_count_kv
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        joined = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        return self.attn_output(joined.transpose(1, 2).flatten(2))

    def _heads(self, x: Tensor, count: int) -> Tensor:
        return x.view(*x.shape[:2], count, self.config.head_length).transpose(1, 2)


class Llama(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.token_embd = nn.Embedding(config.vocab_size, config.embedding_length)
        self.blk = nn.ModuleList(Block(config) for _ in range(config.block_count))
        self.output_norm = RMSNorm(config.embedding_length, config.rms_epsilon)
        nn.init.normal_(self.token_embd.weight, std=0.05)
        for name, parameter in self.blk.named_parameters():
            if parameter.ndim == 2:
                # What is added to the residual stream starts smaller, the more blocks add to it.
                into_residual = "attn_output" in name or "ffn_down" in name
                scale = 1 / math.sqrt(2 * config.block_count) if into_residual else 1
                nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5 * scale)

    def hidden(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        x = self.token_embd(ids)
        tables = rope_tables(ids.shape[1], self.config.head_length, self.config.rope_base)
        for block in self.blk:
            x = block(x, *tables, mask)
        return self.output_norm(x)

    def forward(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.hidden(ids, mask) @ self.token_embd.weight.T  # tied to the embedding
