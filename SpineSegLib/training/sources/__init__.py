"""Where training samples come from: pictures with masks or instances, slices of CT, radiographs projected from CT.

A source is a map-style data set: sample n of epoch e depends on the seed, e and n alone, so a run that is resumed goes
on with the samples it would have had. A source whose targets do not stack has a ``collate(samples)`` that returns a
batch: images and targets.
"""

from __future__ import annotations

from SpineSegLib.training.sources.films import FilmSource
from SpineSegLib.training.sources.instances import InstanceSource
from SpineSegLib.training.sources.pictures import PictureSource
from SpineSegLib.training.sources.slices import SliceSource
from SpineSegLib.training.sources.volumes import Scan, phantom_scan, targets_of

__all__ = [
    "SOURCES",
    "FilmSource",
    "InstanceSource",
    "PictureSource",
    "Scan",
    "SliceSource",
    "phantom_scan",
    "targets_of",
]

SOURCES = {
    "films": FilmSource,
    "instances": InstanceSource,
    "pictures": PictureSource,
    "slices": SliceSource,
}
"""By the name that a recipe uses."""
