"""What a digital patient is made from: every choice, with its limits, and what is drawn where nothing is chosen."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from SpineSegLib.anatomy import LEVELS, neighbours
from SpineSegLib.errors import problem
from SpineSegLib.phantom.body import KINDS

FRACTURES = ("wedge", "biconcave", "crush")


@dataclass(frozen=True)
class Curve:
    """A coronal curve: end vertebrae, Cobb angle in degrees, and the side it is convex to (``"right"``, ``"left"``)."""

    upper: str
    lower: str
    cobb: float
    side: str = "right"


@dataclass(frozen=True)
class Slip:
    """`level` lies `percent` of the lower endplate's depth ahead of (+) or behind (-) the next lower vertebra."""

    level: str
    percent: float


@dataclass(frozen=True)
class Fracture:
    """A compression fracture: the height that is lost, percent, in front (wedge), in the middle (biconcave), or all over
    (crush)."""

    level: str
    kind: str
    loss: float


@dataclass(frozen=True)
class Parameters:
    """Everything that makes a body; None means: drawn from the seed.

    Parameters
    ----------
    kind : one of `KINDS`
    sex : ``"female"`` or ``"male"``
    age : years; makes bone poorer and osteophytes larger
    stature : standing height, mm
    cervical_lordosis : tilt(C2 inferior) - tilt(C7 inferior), degrees
    thoracic_kyphosis : tilt(T12 inferior) - tilt(T4 superior), degrees, positive
    lumbar_lordosis : tilt(L1 superior) - tilt(S1), degrees
    t1_slope, sacral_slope : how far the endplate falls to the front, degrees
    motion : flexion (-) or extension (+) of the neck against the neutral film of the same seed, degrees
    curves : up to three coronal curves from top to bottom, each beginning where the last one ends
    rotation : axial rotation of the apex, share of the Cobb angle
    slips, fractures, pars_defects, process_fractures : pathologies
    fused : discs without motion and height, such as ``"C5/C6"``
    plate : first and last level of an anterior cervical plate with screws
    osteophytes : 0 none to 1 many
    mineral : density of trabecular bone against a healthy adult's
    cells : side of the grid's voxels k, j, i in mm
    region : first and last level of a CT or an MR (``("C1", "T2")``)
    width : how much of the body a CT shows from side to side and front to back, mm
    mend_holes : surfaces with up to so many open edges are closed rather than refused
    extra : additional levels, of ``"T13"`` and ``"L6"``
    """

    kind: str
    sex: str | None = None
    age: float | None = None
    stature: float | None = None
    cervical_lordosis: float | None = None
    thoracic_kyphosis: float | None = None
    lumbar_lordosis: float | None = None
    t1_slope: float | None = None
    sacral_slope: float | None = None
    motion: float = 0.0
    curves: tuple[Curve, ...] = ()
    rotation: float = 0.25
    slips: tuple[Slip, ...] = ()
    fractures: tuple[Fracture, ...] = ()
    pars_defects: tuple[str, ...] = ()
    process_fractures: tuple[str, ...] = ()
    fused: tuple[str, ...] = ()
    plate: tuple[str, str] | None = None
    osteophytes: float | None = None
    mineral: float | None = None
    cells: tuple[float, float, float] | None = None
    region: tuple[str, str] | None = None
    width: tuple[float, float] | None = None
    mend_holes: int = 0
    extra: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("curves", "slips", "fractures", "pars_defects", "process_fractures", "fused", "extra"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name, kind in (("curves", Curve), ("slips", Slip), ("fractures", Fracture)):
            made = tuple(kind(**item) if isinstance(item, dict) else item for item in getattr(self, name))
            object.__setattr__(self, name, made)
        _check(self)


LIMITS = {
    "age": (18, 100),
    "stature": (1400, 2100),
    "cervical_lordosis": (-40, 60),
    "thoracic_kyphosis": (0, 90),
    "lumbar_lordosis": (0, 90),
    "t1_slope": (-10, 60),
    "sacral_slope": (0, 75),
    "motion": (-60, 45),
    "rotation": (0, 0.6),
    "osteophytes": (0, 1),
    "mineral": (0.2, 2),
    "mend_holes": (0, 1000),
}
_COBB, _SLIP, _LOSS = (0.0, 90.0), (-60.0, 100.0), (0.0, 60.0)


def _within(name: str, value: float, limits: tuple[float, float]) -> None:
    if not (isinstance(value, int | float | np.number) and limits[0] <= value <= limits[1]):
        raise problem(name, f"is {value!r}", f"a number from {limits[0]:g} to {limits[1]:g}", "Choose another value")


def _level(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise problem(name, f"unknown level {value!r}", f"one of {allowed[0]} to {allowed[-1]}", "Correct the level")


def _check(p: Parameters) -> None:
    if p.kind not in KINDS:
        raise problem("kind", f"is {p.kind!r}", f"one of {', '.join(KINDS)}", "Choose one of them")
    if p.sex not in (None, "female", "male"):
        raise problem("sex", f"is {p.sex!r}", "'female' or 'male'", "Choose one of them, or leave it out")
    for name, limits in LIMITS.items():
        if getattr(p, name) is not None:
            _within(name, getattr(p, name), limits)
    bodies = LEVELS[1:-1]
    for level in p.extra:
        _level("extra", level, ("T13", "L6"))
    _check_curves(p, bodies)
    for slip in p.slips:
        _level("slips", slip.level, bodies)
        _within("slip percent", slip.percent, _SLIP)
    for fracture in p.fractures:
        _level("fractures", fracture.level, bodies[1:])
        _within("fracture loss", fracture.loss, _LOSS)
        if fracture.kind not in FRACTURES:
            raise problem("fracture kind", f"is {fracture.kind!r}", f"one of {', '.join(FRACTURES)}", "Choose one")
    if len({fracture.level for fracture in p.fractures}) < len(p.fractures):
        raise problem("fractures", "one level twice", "one fracture a level", "Leave one of them out")
    for name in ("pars_defects", "process_fractures"):
        for level in getattr(p, name):
            _level(name, level, bodies)
    for disc in p.fused:
        upper, _, lower = disc.partition("/")
        if upper not in bodies or lower not in LEVELS or not neighbours(upper, lower):
            raise problem("fused", f"unknown disc {disc!r}", "two neighbours such as C5/C6", "Correct the disc")
    if p.plate is not None:
        if len(p.plate) != 2:
            raise problem("plate", f"is {p.plate!r}", "first and last level", "Give two levels")
        for level in p.plate:
            _level("plate", level, tuple(f"C{n}" for n in range(2, 8)))
        if not 1 <= LEVELS.index(p.plate[1]) - LEVELS.index(p.plate[0]) <= 4:
            raise problem("plate", f"from {p.plate[0]} to {p.plate[1]}", "2 to 5 levels, upper first", "Correct it")
    if p.cells is not None and (len(p.cells) != 3 or not all(0.2 <= c <= 10 for c in p.cells)):
        raise problem("cells", f"is {p.cells!r}", "three sizes (k, j, i) from 0.2 to 10 mm", "Choose other sizes")
    if p.region is not None:
        if len(p.region) != 2 or p.region[0] not in LEVELS or p.region[1] not in LEVELS:
            raise problem("region", f"is {p.region!r}", "two levels from C1 to S1", "Correct the levels")
        if LEVELS.index(p.region[0]) > LEVELS.index(p.region[1]):
            raise problem("region", f"from {p.region[0]} up to {p.region[1]}", "the upper level first", "Swap them")
    if p.width is not None and (len(p.width) != 2 or not all(40 <= w <= 600 for w in p.width)):
        raise problem("width", f"is {p.width!r}", "two sizes from 40 to 600 mm", "Choose other sizes")


def _check_curves(p: Parameters, bodies: tuple[str, ...]) -> None:
    if len(p.curves) > 3:
        raise problem("curves", f"{len(p.curves)} of them", "up to 3", "Leave some out")
    last = None
    for curve in p.curves:
        _level("curves", curve.upper, bodies[1:])
        _level("curves", curve.lower, bodies[1:])
        _within("Cobb angle", curve.cobb, _COBB)
        if curve.side not in ("left", "right"):
            raise problem("curve side", f"is {curve.side!r}", "'left' or 'right'", "Choose one of them")
        if LEVELS.index(curve.lower) - LEVELS.index(curve.upper) < 2:
            raise problem("curves", f"{curve.upper} to {curve.lower}", "at least three levels", "Move an end vertebra")
        if last is not None and (curve.upper != last.lower or curve.side == last.side):
            raise problem(
                "curves",
                f"{last.lower} {last.side} is followed by {curve.upper} {curve.side}",
                "each curve to begin where the last one ends, to the other side",
                "Correct the ends or the sides",
            )
        last = curve


def as_record(parameters: Parameters) -> dict:
    """Return plain values for the truth JSON."""

    def plain(value):
        if hasattr(value, "__dataclass_fields__"):
            return {item.name: plain(getattr(value, item.name)) for item in fields(value)}
        return [plain(item) for item in value] if isinstance(value, tuple) else value

    return plain(parameters)
