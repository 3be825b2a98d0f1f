"""The image encoder of Segment Anything, ViT-B as published or narrower, made fast on a CPU.

Kirillov et al., Segment anything, ICCV 2023, doi 10.1109/ICCV51070.2023.00371: a vision transformer whose blocks attend
within windows, four of them to the whole picture (Li et al., ViTDet, ECCV 2022), with decomposed relative positions,
and a neck of two convolutions. Parameters carry segment-anything's names, so its state dictionaries load.

What makes it fast, with the same numbers: queries, keys and values are computed before windows are padded (a padded
token's are the bias), scores live in a small piece of memory that is used again, the perceptron works on some tokens
at a time, and matrix products go through oneDNN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn import functional

from SpineSegLib.networks.matmul import compute_dtype, fast_matmul
from SpineSegLib.networks.relative_attention import (
    attention,
    attention_in_chunks,
    relative_table,
    window_attention,
)

TOKENS = 512
"""Tokens that go through a linear layer at a time: their values stay in the cache."""
SCORES = 1 << 20
"""Scores held at a time, at least those of one row of queries or one row of windows."""


class LayerNorm2d(nn.Module):
    """Layer normalisation over the channels of (n, channels, h, w)."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the normalised maps, channels last in memory."""
        x = functional.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, 1e-6)
        return x.permute(0, 3, 1, 2)


class Attention(nn.Module):
    """The parameters of a block's attention: queries, keys and values, projection, relative positions."""

    def __init__(self, width: int, heads: int, size: int):
        super().__init__()
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * size - 1, width // heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * size - 1, width // heads))


class Perceptron(nn.Module):
    """Two linear layers with GELU between them."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.lin1, self.lin2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a tensor of the same shape."""
        return self.lin2(functional.gelu(self.lin1(x)))


class Block(nn.Module):
    """Attention and perceptron, each after a normalisation and added to its input.

    Parameters
    ----------
    width, heads : channels, and attention heads that share them
    size : tokens along a side of what a token attends to
    window : side of the windows in tokens, 0 to attend to everything
    hidden : channels within the perceptron
    """

    def __init__(self, width: int, heads: int, size: int, window: int, hidden: int):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn, self.mlp = Attention(width, heads, size), Perceptron(width, hidden)
        self.heads, self.window = heads, window

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (n, h, w, channels) from the same, with gradients."""
        images, height, width = x.shape[:3]
        qkv = self.attn.qkv(self.norm1(x))
        side = self.window
        if side:
            qkv = self.padded(qkv, -height % side, -width % side)
            down, across = qkv.shape[1] // side, qkv.shape[2] // side
            qkv = qkv.view(images, down, side, across, side, 3, self.heads, -1).permute(5, 0, 1, 3, 6, 2, 4, 7)
        else:
            qkv = qkv.view(images, height, width, 3, self.heads, -1).permute(3, 0, 4, 1, 2, 5)
        found = attention(*qkv.flatten(1, -4).unbind(0), *self.tables(*qkv.shape[-3:-1]))
        if side:
            found = found.view(images, down, across, self.heads, side, side, -1).permute(0, 1, 4, 2, 5, 3, 6)
            found = found.reshape(images, down * side, across * side, -1)[:, :height, :width]
        else:
            found = found.view(images, self.heads, height, width, -1).permute(0, 2, 3, 1, 4).flatten(3)
        x = x + self.after_attention(self.attn.proj(found))
        normalised = self.norm2(x)
        return x + self.after_perceptron(self.mlp(normalised), normalised)

    def after_attention(self, found: torch.Tensor) -> torch.Tensor:
        """Return what attention found as it is; a block with adapters changes it here."""
        return found

    def after_perceptron(self, found: torch.Tensor, normalised: torch.Tensor) -> torch.Tensor:
        """Return what the perceptron made of its input as it is; a block with adapters adds to it here."""
        return found

    def padded(self, qkv: torch.Tensor, down: int, across: int) -> torch.Tensor:
        """Return (n, h + down, w + across, 3·channels): a token of padding is 0, so that its values are the bias."""
        if not (down or across):
            return qkv
        bias = self.attn.qkv.bias.to(qkv.dtype)
        return functional.pad(qkv - bias, (0, 0, 0, across, 0, down)) + bias

    def tables(self, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the relative positions along rows and columns of a grid of tokens, see `relative_table`."""
        return relative_table(self.attn.rel_pos_h, height), relative_table(self.attn.rel_pos_w, width)

    def infer(self, x: torch.Tensor, work: Workspace) -> None:
        """Do the same to one picture's tokens (h, w, channels) in place, without gradients.

        Parameters
        ----------
        work : memory to work in, of the type to compute in
        """
        height, width = x.shape[:2]
        dtype = work.scores.dtype
        step = max(1, TOKENS // width)
        slices = [slice(start, min(start + step, height)) for start in range(0, height, step)]
        channels = self.attn.proj.in_features
        qkv = work.qkv(height, width, self.window, channels)
        weight, bias = self.attn.qkv.weight.to(dtype), self.attn.qkv.bias.to(dtype)
        qkv[height:], qkv[:, width:] = bias, bias
        for some in slices:
            qkv[some, :width] = functional.linear(self.norm1(x[some]).to(dtype), weight, bias)
        found = work.found(height, width, self.heads, channels)
        if self.window:
            self._attend_in_windows(qkv, found, work.scores)
        else:
            self._attend(qkv, found, work.scores)
        layers = [(layer.weight.to(dtype), layer.bias.to(dtype)) for layer in (self.attn.proj, *self.mlp.children())]
        for some in slices:
            x[some] += self.after_attention(functional.linear(found[some].flatten(2), *layers[0]))
            normalised = self.norm2(x[some]).to(dtype)
            hidden = functional.gelu(functional.linear(normalised, *layers[1]))
            x[some] += self.after_perceptron(functional.linear(hidden, *layers[2]), normalised)

    def _attend(self, qkv: torch.Tensor, found: torch.Tensor, scores: torch.Tensor) -> None:
        height, width = qkv.shape[:2]
        tables = self.tables(height, width)
        qkv = qkv.view(height, width, 3, self.heads, -1)
        for head in range(self.heads):
            attention_in_chunks(*qkv[:, :, :, head].unbind(2), *tables, scores, found[:, :, head])

    def _attend_in_windows(self, qkv: torch.Tensor, found: torch.Tensor, scores: torch.Tensor) -> None:
        side = self.window
        height, width = found.shape[:2]
        tables = self.tables(side, side)
        for start in range(0, height, side):
            row = qkv[start : start + side].view(side, -1, side, 3, self.heads, found.shape[-1])
            row = row.permute(3, 1, 4, 0, 2, 5).flatten(1, 2)
            part = window_attention(*row.unbind(0), *tables, scores)
            part = part.view(-1, self.heads, side, side, found.shape[-1]).permute(2, 0, 3, 1, 4).flatten(1, 2)
            rows = min(side, height - start)
            found[start : start + rows] = part[:rows, :width]


class Workspace:
    """Memory that the blocks use one after the other, for one picture.

    Parameters
    ----------
    height, width : of the picture in tokens
    blocks : that will use it
    dtype : to compute in
    """

    def __init__(self, height: int, width: int, blocks: Sequence[Block], dtype: torch.dtype, device: torch.device):
        heads, channels = blocks[0].heads, max(block.attn.proj.in_features for block in blocks)
        sides = [block.window or 1 for block in blocks]
        padded = max((height + -height % side) * (width + -width % side) for side in sides)
        rows_of_windows = max(-(-width // side) * heads * side**4 if side > 1 else 0 for side in sides)
        one_row = width * height * width if 1 in sides else 0
        # Nothing is computed on the meta device, where multiply-adds are counted: there all rows go at once.
        chunk = one_row * height if device.type == "meta" else max(one_row, SCORES)
        self._qkv = torch.empty(padded * 3 * channels, dtype=dtype, device=device)
        self.scores = torch.empty(max(chunk, rows_of_windows), dtype=dtype, device=device)
        self._found = torch.empty(height * width * channels, dtype=dtype, device=device)

    def found(self, height: int, width: int, heads: int, channels: int) -> torch.Tensor:
        """Return memory for what attention found, (h, w, heads, channels / heads)."""
        return self._found[: height * width * channels].view(height, width, heads, channels // heads)

    def qkv(self, height: int, width: int, window: int, channels: int) -> torch.Tensor:
        """Return memory for queries, keys and values, (h, w, 3·channels) with h and w padded to whole windows."""
        if window:
            height, width = height + -height % window, width + -width % window
        return self._qkv[: height * width * 3 * channels].view(height, width, 3 * channels)


class PatchEmbed(nn.Module):
    """Patches of the picture as tokens."""

    def __init__(self, channels: int, width: int, patch: int):
        super().__init__()
        self.proj = nn.Conv2d(channels, width, patch, stride=patch)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (n, h / patch, w / patch, width)."""
        return self.proj(x).permute(0, 2, 3, 1)


class Neck(nn.Sequential):
    """A 1x1 and a 3x3 convolution, each with a layer normalisation."""

    def __init__(self, width: int, outputs: int):
        super().__init__(
            nn.Conv2d(width, outputs, 1, bias=False),
            LayerNorm2d(outputs),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            LayerNorm2d(outputs),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features (n, outputs, h, w) of tokens (n, h, w, width)."""
        one, norm_one, three, norm_three = self
        x = norm_one(one(x.permute(0, 3, 1, 2)))
        # With channels last in memory oneDNN's sums over 256 channels are ten times less accurate, and no faster.
        return norm_three(functional.conv2d(x.contiguous(), three.weight.contiguous(), padding=1))


class SamEncoder(nn.Module):
    """Segment Anything's image encoder; ViT-B unless told otherwise.

    Parameters
    ----------
    size : side of the square picture that the positions were learnt for; others are interpolated
    patch : side of a patch in pixels
    width, depth, heads : channels of a token, blocks, attention heads
    window : side of the windows in tokens
    global_blocks : numbers of the blocks that attend to the whole picture
    hidden : channels within the perceptrons, in multiples of `width`
    outputs : channels of the features
    channels : of the picture
    block : makes a block, taking the arguments of `Block`
    """

    def __init__(
        self,
        size: int = 1024,
        patch: int = 16,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        window: int = 14,
        global_blocks: Sequence[int] = (2, 5, 8, 11),
        hidden: float = 4,
        outputs: int = 256,
        channels: int = 3,
        block: Callable[..., Block] = Block,
    ):
        super().__init__()
        if width % heads or size % patch:
            msg = f"width {width} must be a multiple of heads {heads}, and size {size} one of patch {patch}"
            raise ValueError(msg)
        self.stride, side = patch, size // patch
        self.patch_embed = PatchEmbed(channels, width, patch)
        self.pos_embed = nn.Parameter(torch.zeros(1, side, side, width))
        self.blocks = nn.ModuleList(
            block(width, heads, size // patch, 0, int(width * hidden))
            if number in global_blocks
            else block(width, heads, window, window, int(width * hidden))
            for number in range(depth)
        )
        self.neck = Neck(width, outputs)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        for module in self.blocks.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features (n, outputs, h / patch, w / patch) of pictures (n, channels, h, w)."""
        x = self.patch_embed(x)
        x = x + self._positions(*x.shape[1:3])
        if torch.is_grad_enabled() or x.device.type not in ("cpu", "meta"):
            for block in self.blocks:
                x = block(x)
        else:
            dtype = compute_dtype(x)
            x = x.contiguous()
            work = Workspace(*x.shape[1:3], self.blocks, dtype, x.device)
            with torch.autocast("cpu", enabled=False), fast_matmul(x.device):
                for picture in x:
                    for block in self.blocks:
                        block.infer(picture, work)
        return self.neck(x)

    def _positions(self, height: int, width: int) -> torch.Tensor:
        if self.pos_embed.shape[1:3] == (height, width):
            return self.pos_embed
        positions = self.pos_embed.permute(0, 3, 1, 2)
        return functional.interpolate(positions, (height, width), mode="bicubic").permute(0, 2, 3, 1)
