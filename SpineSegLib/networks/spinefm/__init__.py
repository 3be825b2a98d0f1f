"""SpineFM's networks: Mask R-CNN, Segment Anything with adapters, a ResNet classifier and a point predictor."""

from SpineSegLib.networks.spinefm.composite import SpineFM

__all__ = ["SpineFM"]
