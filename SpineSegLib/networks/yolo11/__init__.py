"""YOLO11: boxes around vertebrae, and masks within them.

Jocher & Qiu, YOLO11, 2024, as its blocks are published (Khanam & Hussain, arXiv 2410.17725, and the model's own table
of layers); distribution focal boxes of Li et al., arXiv 2006.04388; task-aligned assignment of Feng et al., TOOD,
arXiv 2108.07755; masks from prototypes of Bolya et al., YOLACT, arXiv 1904.02689. Paper 002 detects vertebrae with it
before U-Net3+ segments them.
"""

from __future__ import annotations

from SpineSegLib.networks.yolo11.model import YOLO11, YOLO11Seg

__all__ = ["YOLO11", "YOLO11Seg"]
