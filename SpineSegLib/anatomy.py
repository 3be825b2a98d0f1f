"""Levels and structures of the spine: their order, SNOMED-CT codes, colours and label numbers.

Codes are SNOMED CT (scheme ``SCT``) as in DICOM PS3.16 CID 7603, 7604 and 6115. No code exists for T13 and L6: they
carry the code of 'vertebra' and their level in the name. No combined code exists for a part of one vertebra either
(say, the spinous process of C5): it carries the part's code, with the vertebra's code as its anatomic region.
"""

from __future__ import annotations

import colorsys
import re
from dataclasses import dataclass
from functools import cache

LEVELS: tuple[str, ...] = (
    *(f"C{n}" for n in range(1, 8)),
    *(f"T{n}" for n in range(1, 14)),
    *(f"L{n}" for n in range(1, 7)),
    "S1",
)
"""Every level from top to bottom. T13 and L6 are there in some people only."""

OPTIONAL_LEVELS = frozenset({"T13", "L6"})


@dataclass(frozen=True)
class Code:
    """A coded concept: DICOM's coding scheme, value and meaning."""

    scheme: str
    value: str
    meaning: str

    def __str__(self) -> str:
        return f"{self.scheme}^{self.value}^{self.meaning}"


def _sct(value: int, meaning: str) -> Code:
    return Code("SCT", str(value), meaning)


ANATOMICAL_STRUCTURE = _sct(123037004, "Anatomical Structure")
"""Category of every segment. CID 7150 now lists 91723000; Slicer's own files use this one, and so must a round trip."""

_VERTEBRA_CODES = dict(
    zip(
        (level for level in LEVELS if level not in OPTIONAL_LEVELS),
        (
            *(14806007, 39976000, 113205007, 5329002, 36978003, 36054005, 87391001),
            *(64864005, 53733008, 1626008, 73071006, 56401006, 45296009),
            *(62487009, 11068009, 82687006, 7610001, 12989004, 23215003),
            *(66794005, 14293000, 36470004, 11994002, 49668003, 65985001),
        ),
        strict=True,
    )
)
_DISC_CODES = {
    "C2/C3": 1078209008,
    "C3/C4": 58820006,
    "C4/C5": 49400002,
    "C5/C6": 73959003,
    "C6/C7": 75095006,
    "C7/T1": 37414007,
    "T1/T2": 40908007,
    "T2/T3": 6004007,
    "T3/T4": 2620004,
    "T4/T5": 82965004,
    "T5/T6": 72692000,
    "T6/T7": 74401007,
    "T7/T8": 28693002,
    "T8/T9": 9188009,
    "T9/T10": 113209001,
    "T10/T11": 34959001,
    "T11/T12": 1537001,
    "T12/L1": 76206002,
    "L1/L2": 80064006,
    "L2/L3": 67459009,
    "L3/L4": 62551000,
    "L4/L5": 84020006,
    "L5/S1": 715056000,
}
_PART_CODES = {
    "body": _sct(3572006, "Vertebral body"),
    "spinous process": _sct(55678000, "Spinous process of vertebra"),
    "arch": _sct(40265002, "Arch of vertebra"),
    "lamina": _sct(89340005, "Lamina of vertebra"),
    "pedicle": _sct(78972004, "Pedicle of vertebra"),
    "transverse process": _sct(73400003, "Transverse process of vertebra"),
    "superior articular process": _sct(317665004, "Superior articular process of vertebra"),
    "inferior articular process": _sct(317766009, "Inferior articular process of vertebra"),
}
_WHOLE_CODES = {
    "spine": _sct(421060004, "Spine"),
    "vertebrae": _sct(51282000, "Vertebra"),
    "sacrum": _sct(54735007, "Sacrum"),
    "coccyx": _sct(64688005, "Coccyx"),
    "discs": _sct(360499006, "Intervertebral disc"),
    "spinal cord": _sct(2748008, "Spinal cord"),
    "spinal canal": _sct(61853006, "Spinal canal"),
    "bodies": _sct(3572006, "Vertebral body"),
    "spinous processes": _sct(55678000, "Spinous process of vertebra"),
}
_WHOLE_COLOURS = {
    "spine": (241, 214, 145),
    "vertebrae": (241, 214, 145),
    "sacrum": (188, 125, 91),
    "coccyx": (150, 98, 83),
    "discs": (111, 184, 210),
    "spinal cord": (244, 214, 49),
    "spinal canal": (244, 170, 147),
    "bodies": (241, 214, 145),
    "spinous processes": (222, 98, 70),
}
KINDS: tuple[str, ...] = ("vertebra", *_PART_CODES, "disc", *_WHOLE_CODES, "other")

COLLECTIVES: dict[str, tuple[str, ...]] = {
    "spine": ("vertebra", "sacrum", "coccyx"),
    "vertebrae": ("vertebra",),
    "bodies": ("body",),
    "spinous processes": ("spinous process",),
    "discs": ("disc",),
}
"""Which kinds a structure without a level stands for, where others name them one by one."""

_VERSE_LABELS = {
    **{level: n for n, level in enumerate((level for level in LEVELS if level not in ("T13", "S1")), start=1)},
    "T13": 28,
}
"""Label numbers of the VerSe data sets: C1 is 1, T1 is 8, L1 is 20, L6 is 25; the sacrum is 26 and T13 is 28."""


@dataclass(frozen=True)
class Structure:
    """One structure that a segment can show.

    Parameters
    ----------
    kind : one of `KINDS`
    level : ``"C5"`` for a vertebra or a part of one, ``"C5/C6"`` for a disc, ``None`` for the rest
    label : free name of a structure of kind ``"other"`` (a segment that is none of ours)
    """

    kind: str
    level: str | None = None
    label: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            msg = f"structure kind is {self.kind!r}, expected one of {', '.join(KINDS)}"
            raise ValueError(msg)
        if self.kind == "vertebra" or self.kind in _PART_CODES:
            known = self.level in LEVELS
        elif self.kind == "disc":
            upper, _, lower = (self.level or "").partition("/")
            known = upper in LEVELS and lower in LEVELS and has_disc_between(upper, lower)
        else:
            known = self.level is None
        if not known:
            msg = f"a structure of kind {self.kind!r} cannot have the level {self.level!r}"
            raise ValueError(msg)
        if (self.kind == "other") != (self.label is not None):
            msg = "a structure has a label of its own exactly when its kind is 'other'"
            raise ValueError(msg)

    @property
    def name(self) -> str:
        """Short name, unique among structures: ``T5``, ``C5 spinous process``, ``L4/L5 disc``, ``spine``."""
        if self.kind == "other":
            return self.label
        if self.kind == "vertebra":
            return self.level
        return f"{self.level} {self.kind}" if self.level else self.kind

    @property
    def code(self) -> Code:
        """SNOMED-CT type."""
        if self.kind == "vertebra":
            return vertebra_code(self.level)
        if self.kind in _PART_CODES:
            return _PART_CODES[self.kind]
        if self.kind == "disc":
            value = _DISC_CODES.get(self.level)
            return _sct(value, f"{self.level} intervertebral disc") if value else _WHOLE_CODES["discs"]
        if self.kind == "other":
            return _sct(85756007, "Tissue")
        return _WHOLE_CODES[self.kind]

    @property
    def region(self) -> Code | None:
        """SNOMED-CT anatomic region: the vertebra that a part belongs to."""
        return vertebra_code(self.level) if self.kind in _PART_CODES else None

    @property
    def colour(self) -> tuple[int, int, int]:
        """Recommended display colour, red green blue, 0-255; neighbours differ clearly."""
        return _colour(self)

    @property
    def terminology(self) -> str:
        """Slicer's terminology entry, as stored in a segment's ``TerminologyEntry`` tag."""
        region = str(self.region) if self.region else "^^"
        if self.kind == "other":
            return (
                f"{GENERAL_CONTEXT}~{_sct(85756007, 'Tissue')}~{self.code}~^^~Anatomic codes - DICOM master list~^^~^^"
            )
        return f"{TYPE_CONTEXT}~{ANATOMICAL_STRUCTURE}~{self.code}~^^~{REGION_CONTEXT}~{region}~^^"

    @property
    def verse_label(self) -> int | None:
        """Label number in the VerSe convention, where it has one (S1 alone has none: VerSe labels the whole sacrum)."""
        if self.kind == "vertebra":
            return _VERSE_LABELS.get(self.level)
        return {"sacrum": 26, "coccyx": 27}.get(self.kind)

    @property
    def order(self) -> tuple[int, int, str]:
        """Sort key: from top to bottom, whole vertebrae before their parts."""
        if not self.level:
            below = self.kind in ("sacrum", "coccyx")
            return (len(LEVELS) + KINDS.index(self.kind) if below else -1, KINDS.index(self.kind), self.name)
        return (LEVELS.index(self.level.partition("/")[0]), KINDS.index(self.kind), self.name)


TYPE_CONTEXT = "Segmentation category and type - SpineSeg"
REGION_CONTEXT = "Anatomic codes - SpineSeg"
GENERAL_CONTEXT = "Segmentation category and type - 3D Slicer General Anatomy list"


def vertebra_code(level: str) -> Code:
    """Return the SNOMED-CT code of the vertebra at `level`."""
    value = _VERTEBRA_CODES.get(level)
    return _sct(value, f"{level} vertebra") if value else _sct(51282000, f"{level} vertebra")


@cache
def _colour(structure: Structure) -> tuple[int, int, int]:
    if structure.kind in _WHOLE_COLOURS:
        return _WHOLE_COLOURS[structure.kind]
    if structure.kind == "other":
        return (128, 174, 128)
    # A golden-angle walk round the hue circle keeps neighbouring levels far apart; parts are darker, discs paler.
    index = LEVELS.index(structure.level.partition("/")[0])
    hue = (0.09 + index * 0.381966) % 1
    saturation, value = {"vertebra": (0.62, 0.95), "body": (0.5, 0.98), "disc": (0.28, 0.88)}.get(
        structure.kind, (0.78, 0.72)
    )
    return tuple(round(255 * part) for part in colorsys.hsv_to_rgb(hue, saturation, value))


def neighbours(upper: str, lower: str) -> bool:
    """Tell whether `upper` can lie right above `lower`, T13 and L6 being optional."""
    between = LEVELS[LEVELS.index(upper) + 1 : LEVELS.index(lower)]
    return LEVELS.index(upper) < LEVELS.index(lower) and all(level in OPTIONAL_LEVELS for level in between)


def has_disc_between(upper: str, lower: str) -> bool:
    """Tell whether a disc can lie between two levels: right above each other, and not between C1 and C2."""
    return upper != "C1" and neighbours(upper, lower)


def all_structures() -> list[Structure]:
    """Return every structure that SpineSeg has a name for, in order."""
    found = [Structure(kind) for kind in _WHOLE_CODES]
    found += [Structure("vertebra", level) for level in LEVELS]
    found += [Structure(part, level) for part in _PART_CODES for level in LEVELS]
    found += [Structure("disc", f"{a}/{b}") for a in LEVELS for b in LEVELS if has_disc_between(a, b)]
    return sorted(found, key=lambda structure: structure.order)


@cache
def _by_name() -> dict[str, Structure]:
    return {structure.name.lower(): structure for structure in all_structures()}


_FILLERS = re.compile(r"\b(vertebrae?|vertebral|vert|label|level|of|the|left|right|doubtful)\b|\W")
_LEVEL = re.compile(r"(?<![a-z0-9])([ctls])(\d{1,2})(?![0-9])", re.IGNORECASE)


def structure_named(name: str) -> Structure:
    """Return the structure that a segment's name means; one of kind ``"other"`` when it is none of ours.

    Understands our own names and what other software writes: ``T5``, ``vertebrae_T5``, ``T5 vertebra``,
    ``Vertebra L1``, ``C5 spinous process``, ``L4-L5 disc``, ``sacrum``.

    Examples
    --------
    >>> structure_named("vertebrae_T5").name
    'T5'
    >>> structure_named("Liver").kind
    'other'
    """
    text = re.sub(r"[_\s]+", " ", name.strip().lower())
    if text in _by_name():
        return _by_name()[text]
    levels = [f"{letter.upper()}{int(number)}" for letter, number in _LEVEL.findall(text)]
    levels = [level for level in levels if level in LEVELS]
    if len(levels) == 2 and "dis" in text and has_disc_between(*levels):
        return Structure("disc", "/".join(levels))
    if len(levels) == 1:
        rest = " ".join(_FILLERS.sub(" ", _LEVEL.sub(" ", text)).split())
        if not rest:
            return Structure("vertebra", levels[0])
        if rest in _PART_CODES:
            return Structure(rest, levels[0])
    aliases = {"vertebral column": "spine", "vertebra": "vertebrae", "spinous process": "spinous processes"}
    aliases |= {"vertebral body": "bodies", "vertebral bodies": "bodies", "spinal canal": "spinal canal"}
    aliases |= {"intervertebral disc": "discs", "intervertebral discs": "discs"}
    if text in aliases:
        return Structure(aliases[text])
    return Structure("other", label=name)


@cache
def structure_coded(value: str, region_value: str | None = None) -> Structure | None:
    """Return the structure with this SNOMED-CT type (and region), or None when there is none or more than one."""
    found = [
        structure
        for structure in all_structures()
        if structure.code.value == value
        and (structure.region.value if structure.region else None) == (region_value or None)
        and (value != "51282000" or structure.kind == "vertebrae")
    ]
    return found[0] if len(found) == 1 else None


@cache
def verse_structures() -> dict[int, Structure]:
    """Return label number -> structure of the VerSe convention."""
    table = {number: Structure("vertebra", level) for level, number in _VERSE_LABELS.items()}
    return table | {26: Structure("sacrum"), 27: Structure("coccyx")}
