"""One person: what is drawn from the seed where nothing is chosen, and the bones changed to that person's size."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from SpineSegLib.phantom.levels import vertebra_landmarks
from SpineSegLib.phantom.morphometry import LEVEL_SD, SIZE, STATURE, mean_dimensions
from SpineSegLib.phantom.parameters import Parameters
from SpineSegLib.phantom.shapes import Shape, Warp

STREAMS = ("person", "shape", "pose", "texture", "surroundings", "source")


def streams(seed: int) -> dict[str, np.random.Generator]:
    """Return one independent generator for each part, so that a change of one part leaves the others as they are."""
    children = np.random.SeedSequence(seed).spawn(len(STREAMS))
    return {name: np.random.Generator(np.random.PCG64(child)) for name, child in zip(STREAMS, children, strict=True)}


def drawn(p: Parameters, rng: np.random.Generator) -> Parameters:
    """Fill in what was not chosen.

    Norms: C2-C7 lordosis 13 ± 10° (PMC6003173), T1 slope 25 ± 8°, T4-T12 kyphosis 37 ± 10°, L1-S1 lordosis 58 ± 11°
    (PMC6334400: 60.9 ± 12), sacral slope 41 ± 8°; slope and lordosis below go together (Legaye 1998, r about 0.8).
    """
    z = rng.standard_normal(8)
    sex = p.sex or ("female", "male")[int(rng.integers(2))]
    mean, spread = STATURE[sex]
    stature = p.stature if p.stature is not None else float(np.clip(mean + spread * z[0], 1450, 2000))
    age = p.age if p.age is not None else float(np.round(rng.uniform(20, 85), 1))
    # T1 slope and sacral slope set what the curves above them have to make up for.
    t1 = p.t1_slope if p.t1_slope is not None else float(np.clip(25 + 7 * z[1], 5, 45))
    sacral = p.sacral_slope if p.sacral_slope is not None else float(np.clip(40 + 7 * z[2], 20, 60))
    neck = 12 + 0.6 * (t1 - 25) + 9 * z[3]
    loin = 57 + 1.0 * (sacral - 40) + 6 * z[4]
    chest = 37 + 9 * z[5]
    wear = p.osteophytes if p.osteophytes is not None else float(np.clip((age - 35) / 55 + 0.2 * z[6], 0, 1))
    # Trabecular mineral: 2.5 HU lost a year from about 226 HU at 30 (Jang et al., Radiology 2019), spread 44 HU.
    mineral = float(np.clip((226 - 2.5 * max(age - 30, 0) + 35 * z[7]) / 200, 0.3, 1.5))
    return replace(
        p,
        sex=sex,
        age=age,
        stature=stature,
        t1_slope=t1,
        sacral_slope=sacral,
        cervical_lordosis=_or(p.cervical_lordosis, float(np.clip(neck, -15, 40))),
        lumbar_lordosis=_or(p.lumbar_lordosis, float(np.clip(loin, 25, 80))),
        thoracic_kyphosis=_or(p.thoracic_kyphosis, float(np.clip(chest, 15, 60))),
        osteophytes=wear,
        mineral=_or(p.mineral, mineral),
    )


def _or(value, drawn_value):
    return drawn_value if value is None else value


@dataclass(frozen=True)
class Build:
    """How one person's bones differ from the source's: factors, drawn once a person."""

    size: float
    height: float
    depth: float
    width: float
    process: float
    disc: float


def drawn_build(p: Parameters, rng: np.random.Generator) -> Build:
    """Draw a person's build: size by sex and stature, proportions with the spread of the tables."""
    mean, spread = SIZE[p.sex]
    tall = (p.stature - STATURE[p.sex][0]) / STATURE[p.sex][0]
    z = rng.standard_normal(6)
    size = mean * (1 + 0.6 * tall) + 0.6 * spread * z[0]
    return Build(
        size=size,
        height=1 + 0.03 * z[1],
        depth=1 + 0.035 * z[2],
        width=1 + 0.03 * z[3],
        process=float(np.clip(1 + 0.11 * z[4], 0.75, 1.3)),
        disc=float(np.clip(1 + 0.12 * z[5] - 0.12 * p.osteophytes, 0.6, 1.3)),
    )


def stretch(x: float, y: float, z: float) -> Warp:
    """Return the warp that makes a bone x, y and z times as large about its body's middle."""
    factors = np.array([x, y, z], dtype=np.float32)
    return lambda points: points / factors


def lengthen(start: float, factor: float, soft: float = 3.0) -> Warp:
    """Return the warp that makes all behind y = `start` `factor` times as long."""

    def warp(points: np.ndarray) -> np.ndarray:
        behind = np.clip(start - points[:, 1], 0, None)
        # The change begins softly, so that no kink shows.
        ramp = behind - soft * (1 - np.exp(-behind / soft))
        moved = points.copy()
        moved[:, 1] += ramp * np.float32(1 - 1 / factor)
        return moved

    return warp


def ripple(rng: np.random.Generator, size: float, lengths: tuple[float, float] = (25.0, 60.0)) -> Warp:
    """Return a smooth random warp: a sum of three waves of `lengths` mm, `size` mm each at the most."""
    direction = rng.standard_normal((3, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    wave = (direction * (2 * np.pi / rng.uniform(*lengths, (3, 1)))).astype(np.float32)
    phase = rng.uniform(0, 2 * np.pi, 3).astype(np.float32)
    amount = (rng.uniform(-1, 1, (3, 3)) * size / 3).astype(np.float32)
    return lambda points: points + np.sin(points @ wave.T + phase) @ amount


@cache
def to_table(shape: Shape) -> tuple[float, float, float]:
    """Return the factors along x, y and z that bring a source's bone most of the way to the tables' mean size.

    A mesh shows one person; four fifths of how that person differs from the tables is taken out (the built-in solids
    have the tables' size), so that the spread between digital patients is the published one whatever their source.
    """
    if shape.name in ("C1", "C2", "S1") or shape.source == "built-in":
        return 1.0, 1.0, 1.0
    d, marks = mean_dimensions(shape.name), vertebra_landmarks(shape)
    deep = d.depth / (marks["SA"] - marks["SP"])[1]
    high = (d.anterior + d.posterior) / ((marks["SA"] - marks["IA"])[2] + (marks["SP"] - marks["IP"])[2])
    y, z = (float(np.clip(ratio, 0.75, 1.35) ** 0.8) for ratio in (deep, high))
    return (y * z) ** 0.5, y, z


def personal(shape: Shape, build: Build, rng: np.random.Generator) -> Shape:
    """Return a source's bone as it is in one person: size, proportions, length of the process, small irregularities."""
    z = rng.standard_normal(4)
    fx, fy, fz = to_table(shape)
    x = fx * build.size * build.width * (1 + LEVEL_SD * 0.6 * z[0])
    y = fy * build.size * build.depth * (1 + LEVEL_SD * 0.6 * z[1])
    up = fz * build.size * build.height * (1 + LEVEL_SD * 0.6 * z[2])
    length = float(np.clip(build.process * (1 + 0.08 * z[3]), 0.7, 1.4))
    wave = ripple(rng, 0.8 if shape.name[0] == "C" else 1.2)
    bounds = shape.bounds
    behind = -0.9 * abs(bounds[1][1]) - 12
    box = np.stack([bounds[0] - 1.5, bounds[1] + 1.5]) * [x, y, up]
    box[0, 1] -= max(length - 1, 0) * abs(box[0, 1])
    bone = shape.warped(wave).warped(stretch(x, y, up), box)
    return bone.warped(lengthen(float(behind * y), length), box) if shape.name not in ("C1", "S1") else bone
