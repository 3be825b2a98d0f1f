"""What the tokens of a transformer attend to: attention rollout, and the attention of one chosen token.

Abnar & Zuidema, Quantifying attention flow in transformers, ACL 2020, doi 10.18653/v1/2020.acl-main.385: a block's
attention A, the mean over its heads, is mixed with the identity for its residual connection, (A + I) / 2, whose rows
sum to 1, and the blocks' matrices are multiplied. Paper 000 (CervSpineNet, doi 10.3389/fbioe.2025.1733689, figure 8)
shows the rollout, and the last block's attention of a token on a mid-cervical spinous process.

A block that attends within windows gives a matrix over the whole grid of tokens that is zero between windows. Windows
that reach over the grid's edge hold padding there: what a token pays to padding is dropped, and its row is scaled to
sum to 1 again. No matrix over all tokens is multiplied with another: a row of the product follows from vectors alone,
from the last block back to the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import nn

Groups = Iterator[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True, eq=False)
class BlockAttention:
    """The attention of one block, mean over its heads.

    Parameters
    ----------
    grid : rows and columns of tokens
    groups : yields, for each set of tokens that attend to each other, their numbers (m,) and the matrix (m, m) of what
        each (row) pays to each (column); rows sum to 1, and every token is in one set
    """

    grid: tuple[int, int]
    groups: Callable[[], Groups]

    def matrix(self) -> np.ndarray:
        """Return the matrix over all tokens (n, n)."""
        tokens = self.grid[0] * self.grid[1]
        out = np.zeros((tokens, tokens), np.float32)
        for numbers, part in self.groups():
            out[np.ix_(numbers, numbers)] = part
        return out

    def mixed(self, weights: np.ndarray) -> np.ndarray:
        """Return the weights (n,) of tokens, as a row, times (A + I) / 2."""
        out = np.zeros_like(weights)
        for numbers, part in self.groups():
            out[numbers] = (weights[numbers] @ part + weights[numbers]) / 2
        return out

    def row(self, token: int) -> np.ndarray:
        """Return what one token pays to all (n,)."""
        out = np.zeros(self.grid[0] * self.grid[1], np.float32)
        for numbers, part in self.groups():
            place = np.flatnonzero(numbers == token)
            if place.size:
                out[numbers] = part[place[0]]
                break
        return out


def rollout(blocks: Sequence[BlockAttention], weights: np.ndarray | None = None) -> np.ndarray:
    """Return the rollout (rows, columns of tokens), its sum 1: how much each token of the input counts.

    Parameters
    ----------
    blocks : from the first to the last
    weights : of the last block's tokens (n,), of sum 1: whose rows of the rollout are averaged; all alike unless given
    """
    rows, columns = blocks[-1].grid
    weights = np.full(rows * columns, 1 / (rows * columns)) if weights is None else weights.astype(np.float64)
    for block in reversed(blocks):
        weights = block.mixed(weights)
    return weights.reshape(rows, columns)


def attention_blocks(network: nn.Module, run: Callable[[], object]) -> list[BlockAttention]:
    """Run a network and return the attention of its blocks, in order; none where it has no chain of them.

    Known are Segment Anything's encoder (CervSpineNet, SAM) and chains of PyTorch's own encoder layers that attend
    first to normalised tokens (TransUNet). Networks that shrink or merge their tokens on the way have no rollout. Each
    block's matrix is computed when it is asked for, from the tokens that went into it.
    """
    import torch

    from SpineSegLib.networks.sam_encoder import SamEncoder

    encoder = next((module for module in network.modules() if isinstance(module, SamEncoder)), None)
    if encoder is not None:
        blocks, make = list(encoder.blocks), _of_sam
    else:
        blocks = [m for m in network.modules() if isinstance(m, torch.nn.TransformerEncoderLayer) and m.norm_first]
        make = partial(_of_layer, stride=getattr(network, "stride", 1))
    if not blocks:
        return []
    side: list[tuple[int, int]] = []
    tokens: list[list[torch.Tensor]] = [[] for _ in blocks]
    with ExitStack() as stack, torch.no_grad():
        first = network.register_forward_pre_hook(lambda _, inputs: side.append(tuple(inputs[0].shape[-2:])))
        stack.callback(first.remove)
        for block, into in zip(blocks, tokens, strict=True):
            # What is normalised is what attends; in use Segment Anything's tokens come some rows at a time.
            hook = block.norm1.register_forward_hook(lambda _, __, out, into=into: into.append(out.detach().float()))
            stack.callback(hook.remove)
        run()
    return [make(block, into, side=side[0] if side else None) for block, into in zip(blocks, tokens, strict=True)]


def _of_sam(block: nn.Module, parts: list[torch.Tensor], *, side: tuple[int, int] | None) -> BlockAttention:
    import torch

    tokens = torch.cat([part[0] if part.ndim == 4 else part for part in parts])
    grid = (tokens.shape[0], tokens.shape[1])
    return BlockAttention(grid, partial(_windows if block.window else _whole, block, tokens))


def _whole(block: nn.Module, tokens: torch.Tensor) -> Groups:
    import torch

    from SpineSegLib.networks.relative_attention import folded

    height, width = tokens.shape[:2]
    count = height * width
    mean = torch.zeros(count, count)
    with torch.no_grad():
        qkv = block.attn.qkv(tokens).view(height, width, 3, block.heads, -1).permute(2, 3, 0, 1, 4)
        for head in range(block.heads):
            # A head at a time: all of ViT-B's would take 800 MB.
            queries, keys = folded(qkv[0, head : head + 1], qkv[1, head : head + 1], *block.tables(height, width))
            mean += torch.softmax(queries[0] @ keys[0].t(), dim=-1)
    yield np.arange(count), (mean / block.heads).numpy()


def _windows(block: nn.Module, tokens: torch.Tensor) -> Groups:
    import torch

    from SpineSegLib.networks.relative_attention import folded

    height, width = tokens.shape[:2]
    side = block.window
    numbers = np.pad(
        np.arange(height * width).reshape(height, width), ((0, -height % side), (0, -width % side)), constant_values=-1
    )
    with torch.no_grad():
        qkv = block.padded(block.attn.qkv(tokens)[None], -height % side, -width % side)[0]
        for top in range(0, height, side):
            for left in range(0, width, side):
                window = qkv[top : top + side, left : left + side].view(side, side, 3, block.heads, -1)
                queries, keys = folded(*window.permute(2, 3, 0, 1, 4)[:2].unbind(0), *block.tables(side, side))
                paid = torch.softmax(queries @ keys.transpose(1, 2), dim=-1).mean(dim=0).numpy()
                here = numbers[top : top + side, left : left + side].ravel()
                real = here >= 0
                paid = paid[np.ix_(real, real)]
                yield here[real], paid / paid.sum(axis=1, keepdims=True)


def _of_layer(
    layer: nn.Module, parts: list[torch.Tensor], *, side: tuple[int, int] | None, stride: int
) -> BlockAttention:
    grid = (side[0] // stride, side[1] // stride)

    def groups() -> Groups:
        import torch
        from torch.nn import functional

        own, tokens = layer.self_attn, parts[0][0]
        with torch.no_grad():
            qkv = functional.linear(tokens, own.in_proj_weight, own.in_proj_bias)
            queries, keys, _ = qkv.view(len(tokens), 3, own.num_heads, -1).permute(1, 2, 0, 3)
            scores = queries @ keys.transpose(1, 2) * queries.shape[-1] ** -0.5
            paid = torch.softmax(scores, dim=-1).mean(dim=0)
        yield np.arange(len(tokens)), paid.numpy()

    return BlockAttention(grid, groups)
