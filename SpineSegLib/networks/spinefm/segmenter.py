"""SpineFM's segmenter: Segment Anything with adapters, one vertebra for one point.

Medical SAM Adapter (Wu et al., Medical SAM Adapter, 2023, arXiv 2304.12620), as paper 001 (SpineFM, ISBI 2025, arXiv
2411.00326, section 3.4.1) uses it: adapters in the image encoder alone, prompt encoder and mask decoder as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import nn
from torch.nn import functional

from SpineSegLib.networks.sam import DEVIATION, MEAN, prompt_parts
from SpineSegLib.networks.sam_encoder import Block, SamEncoder

TRAINED: Mapping[str, tuple[str, ...]] = {
    "adapters": ("space_adapter.", "mlp_adapter."),
    "adapters+decoder": ("space_adapter.", "mlp_adapter.", "mask_decoder."),
    "all": ("",),
}
"""What is trained -> what a parameter's name must hold. ``adapters`` is paper 001's text ("keeping the base SAM weights
frozen"); the public code of Medical SAM Adapter leaves the mask decoder to its optimiser as well
(``adapters+decoder``); ``all`` is for narrow variants, for which there are no weights of Segment Anything."""


class Adapter(nn.Module):
    """A bottleneck: down, GELU, up.

    Parameters
    ----------
    width : channels of a token
    hidden : channels of the bottleneck
    zero : start with the output 0, so that the network starts as Segment Anything itself
    """

    def __init__(self, width: int, hidden: int, *, zero: bool):
        super().__init__()
        self.down, self.up = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.zero = zero

    def initialise(self) -> None:
        """Give the layers their first values: those of `nn.Linear`, or 0 for the output."""
        self.down.reset_parameters()
        self.up.reset_parameters()
        if self.zero:
            nn.init.zeros_(self.up.weight)
            nn.init.zeros_(self.up.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a tensor of the same shape and type."""
        weights = (self.down.weight, self.down.bias, self.up.weight, self.up.bias)
        down, down_bias, up, up_bias = (weight.to(x.dtype) for weight in weights)
        return functional.linear(functional.gelu(functional.linear(x, down, down_bias)), up, up_bias)


class AdaptedBlock(Block):
    """A block of Segment Anything's encoder with two adapters.

    With a = attention(norm1(x)) and n = norm2(x'): x' = x + a + space_adapter(a), and the block returns
    x' + mlp(n) + scale · mlp_adapter(n).

    Parameters
    ----------
    arguments : of `Block`
    ratio : channels of the bottlenecks as a share of the tokens'
    scale : of the adapter beside the perceptron
    zero : see `Adapter`
    """

    def __init__(self, *arguments, ratio: float, scale: float, zero: bool):
        super().__init__(*arguments)
        width = self.attn.proj.in_features
        self.space_adapter = Adapter(width, int(width * ratio), zero=zero)
        self.mlp_adapter = Adapter(width, int(width * ratio), zero=zero)
        self.scale = scale

    def after_attention(self, found: torch.Tensor) -> torch.Tensor:
        """Return what attention found with the adapter's change."""
        return found + self.space_adapter(found)

    def after_perceptron(self, found: torch.Tensor, normalised: torch.Tensor) -> torch.Tensor:
        """Return the perceptron's output with the adapter's, which sees the same input."""
        return found + self.scale * self.mlp_adapter(normalised)


class Segmenter(nn.Module):
    """A patch and a positive point in it -> the mask of the vertebra at the point.

    The patch is cut around the point, so that the point is its centre; `forward` prompts there.
    The parameters of Segment Anything carry its names, so its state dictionaries load.

    Parameters
    ----------
    size : side of the square patch
    channels : of the patch, 3, or 1 in narrow variants
    outputs : channels of the features, of the prompts and of the mask decoder
    hidden : channels within the mask decoder's perceptrons
    ratio, scale : of the adapters, see `AdaptedBlock`; 1/4 and 1/2 in the public code of Medical SAM Adapter
    zero : start the adapters at 0; the paper is silent and the public code starts them at random, but what was learnt
        on a billion masks is worth starting from
    trained : of `TRAINED`; every other parameter is frozen
    wander : share of training samples whose prompt is not the centre but anywhere in the mask; 0 in the paper. Above
        it a patch that is encoded once can be decoded again at the centroid of what was found
    vit : other arguments of `SamEncoder`, for narrow variants
    """

    def __init__(
        self,
        size: int = 1024,
        channels: int = 3,
        outputs: int = 256,
        hidden: int = 2048,
        ratio: float = 0.25,
        scale: float = 0.5,
        zero: bool = True,
        trained: str = "adapters",
        wander: float = 0.0,
        **vit: object,
    ):
        super().__init__()
        if trained not in TRAINED or channels not in (1, 3):
            msg = f"trained is {trained!r} and channels {channels}, expected one of {', '.join(TRAINED)}, and 1 or 3"
            raise ValueError(msg)
        self.size, self.stride, self.wander = size, size, wander
        block = partial(AdaptedBlock, ratio=ratio, scale=scale, zero=zero)
        self.image_encoder = SamEncoder(size=size, outputs=outputs, channels=channels, block=block, **vit)
        for module in self.image_encoder.modules():
            if isinstance(module, Adapter):
                module.initialise()
        self.prompt_encoder, self.mask_decoder = prompt_parts(size, self.image_encoder.stride, outputs, hidden)
        for name, values in (("mean", MEAN), ("deviation", DEVIATION)):
            value = torch.tensor(values).view(3, 1, 1) / 255
            self.register_buffer(name, value if channels == 3 else value.mean(0, keepdim=True), persistent=False)
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(parameter.requires_grad and any(part in name for part in TRAINED[trained]))

    def encode(self, patches: torch.Tensor) -> torch.Tensor:
        """Return embeddings (n, outputs, h, w) of patches (n, channels, size, size) in 0…1."""
        return self.image_encoder((patches - self.mean) / self.deviation)

    def decode(self, embedding: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        """Return logits (n, 1, size, size), float32.

        Parameters
        ----------
        embedding : of n patches, or of one patch for all n points
        points : (n, 1, 2), x and y in pixels of the patch, the centre of the first pixel being (0, 0)
        """
        prompts, decoder = self.prompt_encoder, self.mask_decoder
        embedding = embedding.expand(len(points), -1, -1, -1)
        count, channels, height, width = embedding.shape
        kind = embedding.device.type
        with torch.autocast("cpu" if kind == "meta" else kind, enabled=False):
            # Sines of large numbers: bfloat16 would lose the points.
            where = points.to(embedding.device).float() + 0.5
            where = prompts.pe_layer.forward_with_coords(where, (self.size, self.size))
            positions = prompts.pe_layer((height, width))[None]
        sparse = [
            where + prompts.point_embeddings[1].weight,
            prompts.not_a_point_embed.weight.expand(count, 1, -1),
        ]
        fixed = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight]).expand(count, -1, -1)
        source = embedding + prompts.no_mask_embed.weight.view(1, -1, 1, 1)
        # The decoder's own forward takes one picture at a time.
        tokens, pixels = decoder.transformer(source, positions, torch.cat([fixed, *sparse], dim=1))
        pixels = decoder.output_upscaling(pixels.transpose(1, 2).reshape(count, channels, height, width))
        weights = decoder.output_hypernetworks_mlps[0](tokens[:, 1])
        masks = torch.einsum("nc,nchw->nhw", weights, pixels)[:, None].float()
        return functional.interpolate(masks, (self.size, self.size), mode="bilinear", align_corners=False)

    def centres(self, count: int) -> torch.Tensor:
        """Return the points (count, 1, 2) in the middle of the patch."""
        return torch.full((count, 1, 2), (self.size - 1) / 2)

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Return logits (n, 1, size, size) of patches (n, channels, size, size) with their centres as prompts."""
        return self.decode(self.encode(patches), self.centres(len(patches)))

    def training_logits(self, patches: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        """Return the same with some prompts elsewhere in the true masks (n, 1, size, size), see `wander`.

        In evaluation mode every prompt is the centre, as in `forward`.
        """
        points = self.centres(len(patches))
        if self.training and self.wander:
            for number, mask in enumerate(masks[:, 0].cpu()):
                inside = mask.gt(0.5).nonzero()
                if len(inside) and torch.rand(()) < self.wander:
                    points[number, 0] = inside[torch.randint(len(inside), ())].flip(0)
        return self.decode(self.encode(patches), points)
