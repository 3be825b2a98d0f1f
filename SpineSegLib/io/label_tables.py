"""Label numbers of well-known software and data sets, as structures."""

from __future__ import annotations

from SpineSegLib.anatomy import LEVELS, OPTIONAL_LEVELS, Structure, verse_structures

_UPWARDS = [level for level in reversed(LEVELS) if level not in OPTIONAL_LEVELS]

TOTALSEGMENTATOR: dict[int, Structure] = {
    25: Structure("sacrum"),
    **{number: Structure("vertebra", level) for number, level in enumerate(_UPWARDS, start=26)},
    79: Structure("spinal cord"),
}
"""Label numbers of TotalSegmentator v2 (task 'total'): 25 sacrum, 26 S1, 27 L5 … 31 L1, 32 T12 … 50 C1, 79 cord."""

VERSE: dict[int, Structure] = verse_structures()
"""Label numbers of VerSe: 1 C1 … 7 C7, 8 T1 … 19 T12, 20 L1 … 25 L6, 26 sacrum, 27 coccyx, 28 T13."""
