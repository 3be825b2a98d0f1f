"""Augmentation: a sample and its masks changed at random, by the steps of a recipe.

A step is a mapping as it stands in a recipe's YAML, such as ``{"name": "rotate", "degrees": 10, "probability": 0.5}``.
`STEPS` has every step by name; the arguments of its function are those of the recipe.

One rule for all ranges: a pair is the lowest and the highest value, evenly likely; a single number n is a limit and
stands for -n…n where a value has a sign (degrees, pixels, brightness) and for 0…n where it has none (an amount of
noise). Factors, whose neutral value is 1, are pairs, drawn so that halving is as likely as doubling.
"""

from SpineSegLib.training.augment.chain import STEPS, Augmentation, augmentation

__all__ = ["STEPS", "Augmentation", "augmentation"]
