"""The numbers of SpineFM: those of the paper, and those that it leaves open, each with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields


@dataclass(frozen=True)
class Choices:
    """What a card may set; ``paper`` marks what paper 001 says, the rest it leaves open.

    Parameters
    ----------
    score : detections below are dropped (paper, 3.1: 0.6)
    overlap : the IoU with a mask found before that ends a chain when it is exceeded (paper, 3.2: 0.1)
    threshold : probability above which a pixel belongs to a final mask (paper, 3.3: 0.9); the small card has 0.5, at
        which masks are as large as the truth: 0.9 cost 0.03 of located Dice on necks of its training
    segmenter_patch, classifier_patch : sides, see `models.spine_patches.patch_side`; three steps show a vertebra with
        its neighbours at every scale, where the public code's pixels need films of one scale
    inside : probability above which a pixel counts for centroids and overlaps; 0.5, the threshold that masks are
        trained at, since 0.9 would lose faint ones before they are judged
    refinements : how often a mask is made anew from its own centroid; once, as the paper's figure 2 has it
    uneven : a triple is taken last when one of its steps exceeds the other by this factor: one was missed in between;
        1.6, as for gaps in the result
    attempts : how many triples are tried when the classifier takes most of one for background; 3, then there is no
        spine to be found
    most : vertebrae in one direction; 25, as many as there are levels, so that no chain goes on for ever
    smooth : sigma of the Gaussian in steps; 0.02 is about 2 pixels of a film of NHANES II, whatever the film's scale
    smooth_threshold : for the mask after the Gaussian; 0.5 keeps straight edges where they are
    keep_fraction : parts of a final mask smaller than this share of its largest are dropped; 1: a vertebra is one piece
    tall : a mask this many times as long, along the spine, as its neighbours is probably two fused vertebrae; 1.6, as
        for gaps
    tall_c2 : the same for C2, whose dens makes it 2.1 to 2.5 times as high as its neighbours (50 digital necks)
    """

    score: float = 0.6
    overlap: float = 0.1
    threshold: float = 0.9
    segmenter_patch: Mapping[str, float] = field(default_factory=lambda: {"steps": 3.0})
    classifier_patch: Mapping[str, float] = field(default_factory=lambda: {"steps": 3.0})
    inside: float = 0.5
    refinements: int = 1
    uneven: float = 1.6
    attempts: int = 3
    most: int = 25
    smooth: float = 0.02
    smooth_threshold: float = 0.5
    keep_fraction: float = 1.0
    tall: float = 1.6
    tall_c2: float = 2.9

    @classmethod
    def of(cls, arguments: Mapping[str, object]) -> Choices:
        """Return the choices of a card; ValueError for one that does not exist."""
        unknown = sorted(arguments.keys() - {each.name for each in fields(cls)})
        if unknown:
            msg = f"the pipeline has no argument {unknown[0]!r}, expected some of {[f.name for f in fields(cls)]}"
            raise ValueError(msg)
        return cls(**arguments)
