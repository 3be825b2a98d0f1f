"""Segment Anything, the whole: image encoder, prompt encoder and mask decoder, with one point in each structure.

Kirillov et al., Segment anything, ICCV 2023, doi 10.1109/ICCV51070.2023.00371; baseline of paper 000 (CervSpineNet,
Front. Bioeng. Biotechnol. 2025, doi 10.3389/fbioe.2025.1733689, section 2.5.3): all weights are fine-tuned, with one
positive point at the centroid of every true process, in training and in the test. The prompt encoder and the mask
decoder are segment-anything's own, the image encoder is ours; parameters carry segment-anything's names throughout.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from SpineSegLib.networks.sam_encoder import SamEncoder

MEAN, DEVIATION = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""Of the colours of the pictures that Segment Anything was trained on, 0…255."""


class Sam(nn.Module):
    """Segment Anything with points as prompts, one mask a point; a class's logits are the largest of its masks'.

    Parameters
    ----------
    size : side of the square picture
    outputs : channels of the features, of the prompts and of the mask decoder
    hidden : channels within the mask decoder's perceptrons
    channels : of the picture, 3
    classes : channels of the logits; every point asks for the same structure, so 1
    vit : other arguments of `SamEncoder`, for narrow variants
    """

    stride = 16

    def __init__(
        self,
        size: int = 1024,
        outputs: int = 256,
        hidden: int = 2048,
        channels: int = 3,
        classes: int = 1,
        **vit: object,
    ):
        super().__init__()
        if channels != 3 or classes != 1:
            msg = f"channels are {channels} and classes {classes}, expected 3 and 1"
            raise ValueError(msg)
        self.image_encoder = SamEncoder(size=size, outputs=outputs, channels=channels, **vit)
        self.prompt_encoder, self.mask_decoder = prompt_parts(size, self.image_encoder.stride, outputs, hidden)
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1) / 255, persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(3, 1, 1) / 255, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (n, 1, h, w) of pictures (n, 3, h, w) without any point: what the decoder makes of none."""
        return self.prompted(x, [torch.empty(0, 2)] * len(x))

    def prompted(self, x: torch.Tensor, points: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return logits (n, 1, h, w), the largest over the points of a picture.

        Parameters
        ----------
        x : pictures (n, 3, h, w) in 0…1
        points : for each picture (p, 2): x and y in pixels, the centre of the first pixel being (0, 0)
        """
        features = self.image_encoder((x - self.mean) / self.deviation)
        masks = [self._masks(each[None], where) for each, where in zip(features, points, strict=True)]
        logits = torch.cat([each.amax(dim=0, keepdim=True) for each in masks])
        return functional.interpolate(logits, x.shape[2:], mode="bilinear", align_corners=False)

    def _masks(self, features: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        """Return logits (p, 1, 4·h, 4·w) of the points of one picture with features (1, c, h, w); of none p is 1."""
        prompts = self.prompt_encoder
        size = features.shape[2:]
        with torch.autocast(features.device.type if features.device.type != "meta" else "cpu", enabled=False):
            # Sines of large numbers: bfloat16 would lose the points.
            padding = prompts.not_a_point_embed.weight.expand(max(len(points), 1), 1, -1)
            sparse = padding
            if len(points):
                where = (points.to(features.device).float()[:, None] + 0.5).clone()
                where = prompts.pe_layer.forward_with_coords(where, tuple(n * self.image_encoder.stride for n in size))
                sparse = torch.cat([where + prompts.point_embeddings[1].weight, padding], dim=1)
            positions = prompts.pe_layer(size)[None]
        dense = prompts.no_mask_embed.weight.view(1, -1, 1, 1).expand(len(sparse), -1, *size)
        masks, _ = self.mask_decoder(
            image_embeddings=features,
            image_pe=positions,
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )
        return masks

    def training_logits(self, images: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        """Return logits (n, 1, h, w) for points at the centroids of the parts of the true masks (n, 1, h, w)."""
        return self.prompted(images, [centroids(mask[0]) for mask in masks])


def prompt_parts(size: int, stride: int, outputs: int, hidden: int) -> tuple[nn.Module, nn.Module]:
    """Return segment-anything's prompt encoder and mask decoder; what one mask for one point leaves out is frozen.

    Parameters
    ----------
    size : side of the square picture
    stride : of the image encoder
    outputs : channels of the features, of the prompts and of the mask decoder
    hidden : channels within the mask decoder's perceptrons
    """
    modules = _modules()
    side = size // stride
    prompts = modules.PromptEncoder(
        embed_dim=outputs, image_embedding_size=(side, side), input_image_size=(size, size), mask_in_chans=16
    )
    transformer = modules.TwoWayTransformer(depth=2, embedding_dim=outputs, mlp_dim=hidden, num_heads=8)
    decoder = modules.MaskDecoder(
        num_multimask_outputs=3, transformer=transformer, transformer_dim=outputs, iou_head_hidden_dim=outputs
    )
    for unused in (
        *(prompts.point_embeddings[n] for n in (0, 2, 3)),
        prompts.mask_downscaling,
        decoder.iou_prediction_head,
        *decoder.output_hypernetworks_mlps[1:],
    ):
        unused.requires_grad_(False)
    return prompts, decoder


def centroids(mask: torch.Tensor) -> torch.Tensor:
    """Return (p, 2): x and y of the centroid of each connected part (neighbours by corners too) of a mask (h, w)."""
    from scipy import ndimage

    parts, count = ndimage.label(mask.detach().cpu().numpy() > 0.5, structure=np.ones((3, 3)))
    found = ndimage.center_of_mass(np.ones_like(parts), parts, range(1, count + 1)) if count else []
    return torch.tensor([(x, y) for y, x in found], dtype=torch.float32).view(-1, 2)


def _modules():
    try:
        from segment_anything import modeling
    except ImportError as error:
        msg = "this network needs the Python package segment-anything: pip install segment-anything"
        raise ImportError(msg) from error
    return modeling
