"""The model: a llama-architecture decoder small enough to read in one sitting.

RMS norm, rotary positions, grouped-query attention, SwiGLU, embeddings shared with the output: exactly what
llama.cpp runs as architecture `llama`, so an export is a renaming of tensors (see `training.export` for the
one permutation).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.presets import ModelShape


class RMSNorm(nn.Module):
    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        full = x.float()
        return (
            full * torch.rsqrt(full.pow(2).mean(-1, keepdim=True) + self.epsilon) * self.weight
        ).to(x.dtype)


class Attention(nn.Module):
    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_width = (
            shape.heads,
            shape.kv_heads,
            shape.width // shape.heads,
        )
        self.query = nn.Linear(shape.width, shape.heads * self.head_width, bias=False)
        self.key = nn.Linear(shape.width, shape.kv_heads * self.head_width, bias=False)
        self.value = nn.Linear(shape.width, shape.kv_heads * self.head_width, bias=False)
        self.output = nn.Linear(shape.heads * self.head_width, shape.width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        rows, tokens, _ = x.shape
        query = self.query(x).view(rows, tokens, self.heads, self.head_width).transpose(1, 2)
        key = self.key(x).view(rows, tokens, self.kv_heads, self.head_width).transpose(1, 2)
        value = self.value(x).view(rows, tokens, self.kv_heads, self.head_width).transpose(1, 2)
        groups = self.heads // self.kv_heads
        key = rotate(key, cos, sin).repeat_interleave(groups, 1)
        value = value.repeat_interleave(groups, 1)
        attend = functional.scaled_dot_product_attention if x.is_cuda else attend_in_chunks
        mixed = attend(rotate(query, cos, sin), key, value, is_causal=True)
        projected: Tensor = self.output(
            mixed.transpose(1, 2).reshape(rows, tokens, self.heads * self.head_width)
        )
        return projected


CHUNK = 256
"""Queries at a time. On a CPU (AVX-512, bfloat16, 512 tokens) 2,589 tokens/s against 2,096 with PyTorch's own
kernel."""


def attend_in_chunks(query: Tensor, key: Tensor, value: Tensor, *, is_causal: bool) -> Tensor:
    """Causal attention written out, which torch.compile turns into faster CPU code than the built-in kernel's
    backward pass."""
    assert is_causal
    n_tokens = query.shape[2]
    query = query * query.shape[-1] ** -0.5
    mixed = []
    for start in range(0, n_tokens, CHUNK):
        end = min(start + CHUNK, n_tokens)
        scores = (query[:, :, start:end] @ key[:, :, :end].transpose(-1, -2)).float()
        is_past = (
            torch.arange(end, device=query.device)[None, :]
            <= torch.arange(start, end, device=query.device)[:, None]
        )
        shares = torch.softmax(scores.masked_fill(~is_past, -torch.inf), -1)
        mixed.append(shares.to(value.dtype) @ value[:, :, :end])
    return torch.cat(mixed, 2)


class FeedForward(nn.Module):
    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.gate = nn.Linear(shape.width, shape.hidden, bias=False)
        self.up = nn.Linear(shape.width, shape.hidden, bias=False)
        self.down = nn.Linear(shape.hidden, shape.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        projected: Tensor = self.down(functional.silu(self.gate(x)) * self.up(x))
        return projected


class Block(nn.Module):
    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(shape.width, shape.norm_epsilon)
        self.attention = Attention(shape)
        self.feed_forward_norm = RMSNorm(shape.width, shape.norm_epsilon)
        self.feed_forward = FeedForward(shape)
        self.dropout = shape.dropout

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        attended = self.attention(self.attention_norm(x), cos, sin)
        x = x + functional.dropout(attended, self.dropout, self.training)
        return x + functional.dropout(
            self.feed_forward(self.feed_forward_norm(x)), self.dropout, self.training
        )


class Llama(nn.Module):
    """Token ids in, logits out."""

    cos: Tensor
    sin: Tensor

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocabulary, shape.width)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = RMSNorm(shape.width, shape.norm_epsilon)
        head_width = shape.width // shape.heads
        frequencies = 1.0 / shape.rope_base ** (torch.arange(0, head_width, 2).float() / head_width)
        angles = torch.outer(torch.arange(shape.context).float(), frequencies)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)
        # GPT-2's initialisation: what is added to the residual stream is scaled down by its 2 × layers additions.
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                adds_to_residual = name.endswith(
                    ("attention.output.weight", "feed_forward.down.weight")
                )
                scale = (2 * shape.layers) ** -0.5 if adds_to_residual else 1.0
                nn.init.normal_(parameter, 0.0, 0.02 * scale)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids)
        if torch.is_autocast_enabled(ids.device.type):
            x = x.to(torch.get_autocast_dtype(ids.device.type))
        cos, sin = self.cos[: ids.shape[1]].to(x.dtype), self.sin[: ids.shape[1]].to(x.dtype)
        for block in self.blocks:
            x = block(x, cos, sin)
        return functional.linear(self.norm(x), self.embedding.weight).float()

    def n_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())


def deepened(model: Llama, shape: ModelShape) -> Llama:
    """A deeper model that computes the same: new layers on top, the trained ones over again but for what they add.

    What a new layer adds to the residual stream begins at zero, so nothing that was learned is lost. Repeating the
    layers whole ("Stacking Your Transformers", 2024) raised the loss from 2.7 to 4.7 nats here (small, 40M tokens).
    """
    deeper = Llama(shape)
    deeper.embedding.load_state_dict(model.embedding.state_dict())
    deeper.norm.load_state_dict(model.norm.state_dict())
    for index, block in enumerate(deeper.blocks):
        block.load_state_dict(model.blocks[index % len(model.blocks)].state_dict())
        if index >= len(model.blocks):
            assert isinstance(block, Block)
            nn.init.zeros_(block.attention.output.weight)
            nn.init.zeros_(block.feed_forward.down.weight)
    return deeper


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions on the two halves of a head, as Hugging Face does; ggml rotates neighbours, so the
    export permutes."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def token_losses(
    model: nn.Module, ids: Tensor, targets: Tensor, roles: Tensor, end_id: int
) -> Tensor:
    """Cross-entropy per token, in nats; at context positions over all pieces except the end token.

    Nothing in the suffix-first order marks where the prefix becomes the middle. If the end token competed
    there, the model would learn that it never comes: with it, 3-17 % of completions stopped by themselves;
    without it, 83-90 %.
    """
    logits: Tensor = model(ids)
    total = torch.logsumexp(logits, -1)
    losses = total - logits.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    end_share = torch.exp(logits[..., end_id] - total).clamp(max=0.999)
    return torch.where(roles == 0, losses + torch.log1p(-end_share), losses)
