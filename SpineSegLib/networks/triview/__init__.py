"""Attention LinkNet-152 on three views of a volume, the model of paper 003 (Sci Rep 2025 15:13102)."""

from SpineSegLib.networks.triview.model import TriViewLinkNet

__all__ = ["TriViewLinkNet"]
