"""How big vertebrae are: mean dimensions a level, and how they vary.

Sources
-------
[P91c] Panjabi, Duranceau, Goel, Oxland, Takata: Cervical human vertebrae, Spine 1991;16:861-869 (C2-C7).
[P91t] Panjabi, Takata, Goel et al.: Thoracic human vertebrae, Spine 1991;16:888-901 (T1-T12).
[P92]  Panjabi, Goel, Oxland et al.: Human lumbar vertebrae, Spine 1992;17:299-306 (L1-L5).
[GN86] Gilad, Nissan: A study of vertebra and disc geometric relations of the human cervical and lumbar spine,
       Spine 1986;11:154-157 (lateral radiographs of 141 to 157 men).
[VID]  Steps between body centres in 2,116 CTs, computed from VID-vertebra-identification-dataset (Buergin et al. 2023).
[A]    Set by anatomy where no table is at hand (transverse span and process of some levels, T13, L6).

The values were recalled from these papers and rounded, not copied from a data file; a single one may be off by a
millimetre. Heights follow [GN86] and the steps of [VID] rather than Panjabi's posterior heights, which were taken
between the deepest points of the endplates and are 2-4 mm less in the lumbar spine.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

LEVEL_SD = 0.03
"""Spread of one dimension of one level about its owner's size: the 4 to 10 % of the tables, less the owner's own."""

SIZE = {"male": (1.04, 0.045), "female": (0.95, 0.045)}
"""Mean and spread of the size of all vertebrae of one person against the tables (which mix the sexes) [P91c, GN86]."""

STATURE = {"male": (1760.0, 70.0), "female": (1630.0, 65.0)}
"""Standing height, mm: mean and spread of European adults [A]."""


@dataclass(frozen=True)
class Dimensions:
    """Dimensions of one vertebra in mm and degrees.

    Parameters
    ----------
    anterior, posterior : body height at the front and the back, between the corners
    depth, width : of the endplates, mean of upper and lower
    concavity : depth of the endplates' hollow
    pedicle_width, pedicle_height : of the pedicle's isthmus
    canal_width, canal_depth : of the vertebral canal
    process : length of the spinous process from the back of the canal to its tip
    inclination : how far the process points down from the body's axis, degrees
    span : from tip to tip of the transverse processes
    disc : height of the disc below, mean of front and back between the corners
    waist : how much narrower the body is at half height, share of the depth
    """

    anterior: float
    posterior: float
    depth: float
    width: float
    concavity: float
    pedicle_width: float
    pedicle_height: float
    canal_width: float
    canal_depth: float
    process: float
    inclination: float
    span: float
    disc: float
    waist: float


_ROWS = {
    # anterior, posterior [GN86, VID]; depth, width [P91c]; concavity [A]; pedicle, canal [P91c]; process [P91c, less
    # body depth and canal]; inclination [A]; span [P91c]; disc [GN86, VID]
    "C2": (20.0, 18.0, 15.6, 17.5, 0.8, 7.0, 9.0, 24.5, 20.5, 19.0, 24, 50.0, 4.6),
    "C3": (13.4, 13.6, 15.4, 17.0, 1.0, 5.6, 7.4, 22.9, 16.4, 16.5, 20, 50.3, 4.7),
    "C4": (12.9, 13.2, 15.6, 17.5, 1.0, 5.4, 7.4, 24.0, 16.6, 16.5, 20, 49.5, 4.7),
    "C5": (12.5, 12.9, 16.0, 18.5, 1.0, 5.6, 7.0, 24.9, 16.8, 18.0, 22, 51.0, 4.8),
    "C6": (12.7, 13.0, 17.0, 20.2, 1.0, 6.0, 7.3, 25.4, 17.0, 24.0, 20, 54.0, 5.0),
    "C7": (14.4, 14.6, 17.4, 22.6, 1.0, 6.6, 7.5, 24.5, 16.2, 32.0, 22, 66.6, 5.0),
    # [P91t]; heights raised by 1 mm for the corners, so that steps agree with [VID]
    "T1": (15.9, 16.4, 18.8, 26.0, 1.0, 8.5, 9.6, 21.8, 16.0, 33.0, 30, 75.3, 4.4),
    "T2": (16.8, 17.4, 20.4, 26.1, 1.1, 8.2, 11.4, 19.5, 15.4, 33.0, 38, 69.8, 3.8),
    "T3": (16.7, 17.9, 22.8, 25.3, 1.2, 6.8, 11.9, 18.4, 15.6, 33.0, 44, 61.8, 3.5),
    "T4": (16.8, 18.3, 23.8, 25.3, 1.2, 6.3, 12.1, 17.1, 16.1, 33.0, 50, 60.6, 3.5),
    "T5": (17.1, 18.7, 25.0, 26.0, 1.3, 6.0, 11.9, 17.3, 16.2, 34.0, 56, 61.1, 3.6),
    "T6": (17.6, 19.4, 26.4, 27.2, 1.4, 6.0, 12.2, 17.3, 16.2, 34.5, 60, 61.4, 3.8),
    "T7": (18.1, 20.0, 27.9, 28.4, 1.4, 5.9, 12.1, 17.3, 15.9, 34.5, 60, 60.8, 4.0),
    "T8": (18.7, 20.4, 28.7, 30.0, 1.5, 6.7, 12.5, 17.7, 15.8, 34.0, 57, 59.9, 4.4),
    "T9": (19.6, 21.0, 30.1, 31.8, 1.6, 7.7, 13.9, 17.9, 15.9, 32.0, 50, 59.7, 4.7),
    "T10": (21.0, 22.1, 31.0, 33.6, 1.7, 9.0, 14.9, 18.2, 15.6, 29.0, 40, 57.5, 5.2),
    "T11": (22.4, 23.9, 31.8, 37.0, 1.8, 9.8, 17.4, 19.4, 16.1, 26.0, 28, 52.2, 6.2),
    "T12": (24.0, 25.7, 33.1, 40.5, 2.0, 8.7, 16.7, 22.2, 18.1, 26.0, 20, 46.9, 7.2),
    # heights and discs [GN86]; the rest [P92]; pedicle width of L5 is that of its isthmus
    "L1": (26.0, 27.3, 34.7, 42.2, 2.4, 8.6, 15.8, 23.7, 18.6, 29.0, 14, 71.2, 8.0),
    "L2": (26.9, 27.7, 34.9, 44.0, 2.6, 8.5, 15.2, 23.8, 18.0, 31.0, 12, 77.0, 8.6),
    "L3": (27.4, 27.5, 35.2, 46.0, 2.6, 10.2, 14.6, 24.3, 17.6, 32.0, 10, 87.0, 9.4),
    "L4": (27.4, 26.2, 35.4, 48.0, 2.5, 13.6, 15.2, 25.4, 18.4, 30.0, 8, 82.0, 10.4),
    "L5": (27.6, 23.6, 34.8, 49.0, 2.3, 16.5, 17.0, 27.1, 18.8, 25.0, 8, 92.0, 9.8),
}
"""[A] for T13 and L6, which lie between their neighbours."""

WAIST = {"C": 0.06, "T": 0.10, "L": 0.12}

TABLE: dict[str, Dimensions] = {level: Dimensions(*row, WAIST[level[0]]) for level, row in _ROWS.items()}
TABLE["T13"] = replace(TABLE["T12"], anterior=25.0, posterior=26.5, span=58.0, inclination=17, disc=7.6)
TABLE["L6"] = replace(TABLE["L5"], anterior=27.0, posterior=23.2, disc=9.2)

SPREAD = {
    "height": 0.07,
    "depth": 0.09,
    "width": 0.08,
    "canal": 0.12,
    "process": 0.18,
    "disc": 0.22,
}
"""Spread (SD over mean) between people, sexes mixed, of the tables above: what counts as 'within published spread'."""


def mean_dimensions(level: str) -> Dimensions:
    """Return the mean dimensions of `level` (C2 to L6)."""
    return TABLE[level]
