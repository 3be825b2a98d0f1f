"""Where training samples come from: pictures with masks, vertebrae and patches of them, slices and projections of CT.

A source is a map-style data set: sample n of epoch e depends on the seed, e and n alone, so a run that is resumed goes
on with the samples it would have had. A source whose targets do not stack has a ``collate(samples)`` that returns a
batch: images and targets.
"""

from __future__ import annotations

from SpineSegLib.training.sources.films import FilmSource
from SpineSegLib.training.sources.instances import InstanceSource
from SpineSegLib.training.sources.mixed import MixedSource
from SpineSegLib.training.sources.patches import PatchSource
from SpineSegLib.training.sources.pictures import PictureSource
from SpineSegLib.training.sources.prompted import ClassifiedSource, PromptedSource
from SpineSegLib.training.sources.slabs import SlabSource
from SpineSegLib.training.sources.slices import SliceSource
from SpineSegLib.training.sources.triples import TripleSource
from SpineSegLib.training.sources.volumes import Scan, phantom_scan, targets_of

__all__ = [
    "SOURCES",
    "ClassifiedSource",
    "FilmSource",
    "InstanceSource",
    "MixedSource",
    "PatchSource",
    "PictureSource",
    "PromptedSource",
    "Scan",
    "SlabSource",
    "SliceSource",
    "TripleSource",
    "phantom_scan",
    "targets_of",
]

SOURCES = {
    "classified": ClassifiedSource,
    "films": FilmSource,
    "instances": InstanceSource,
    "mixed": MixedSource,
    "patches": PatchSource,
    "pictures": PictureSource,
    "prompted": PromptedSource,
    "slabs": SlabSource,
    "slices": SliceSource,
    "triples": TripleSource,
}
"""By the name that a recipe uses."""
