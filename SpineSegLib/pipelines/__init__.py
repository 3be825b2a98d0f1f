"""Pipelines: an image goes in, a segmentation comes out. One file per way of working."""

from SpineSegLib.pipelines.run import Result, segment

__all__ = ["Result", "segment"]
