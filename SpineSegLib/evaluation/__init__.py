"""Evaluation: how good a segmentation is, in numbers whose definitions stand beside them."""

from SpineSegLib.evaluation.agreement import Evaluation, evaluate

__all__ = ["Evaluation", "evaluate"]
