"""Losses of logits against masks. Each takes tensors (n, classes, rows, columns) and returns a scalar, 0 at best.

`LOSSES` has them by the names that recipes use; a recipe's loss is a weighted sum, see `weighted_loss`. Paper 000's is
``{dice: 0.5, focal_tversky: 0.3, hdt_karimi: 0.1, ssim: 0.1}``, and its ablations leave terms out.
"""

from SpineSegLib.training.losses.boundary import distance_field, hdt_as_written, hdt_karimi
from SpineSegLib.training.losses.overlap import bce_dice_loss, bce_loss, dice_loss, focal_tversky_loss, iou_loss
from SpineSegLib.training.losses.similarity import ms_ssim_loss, ssim, ssim_loss
from SpineSegLib.training.losses.terms import LOSSES, check_terms, unet3plus_loss, weighted_loss

__all__ = [
    "LOSSES",
    "bce_dice_loss",
    "bce_loss",
    "check_terms",
    "dice_loss",
    "distance_field",
    "focal_tversky_loss",
    "hdt_as_written",
    "hdt_karimi",
    "iou_loss",
    "ms_ssim_loss",
    "ssim",
    "ssim_loss",
    "unet3plus_loss",
    "weighted_loss",
]
