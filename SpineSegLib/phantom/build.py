"""From parameters and a seed to a digital patient: `build_body`."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np

from SpineSegLib.anatomy import LEVELS, Structure
from SpineSegLib.errors import problem
from SpineSegLib.image import Segment, Segmentation
from SpineSegLib.phantom import pose
from SpineSegLib.phantom.body import Body
from SpineSegLib.phantom.discs import paint_canal, paint_disc
from SpineSegLib.phantom.flesh import drawn_girth
from SpineSegLib.phantom.hardware import paint_plate
from SpineSegLib.phantom.levels import atlas_landmarks, vertebra_landmarks
from SpineSegLib.phantom.measure import measurements
from SpineSegLib.phantom.morphometry import mean_dimensions
from SpineSegLib.phantom.parameters import Parameters, as_record
from SpineSegLib.phantom.parts import body_and_process
from SpineSegLib.phantom.pathology import broken_process, compressed, lysis, osteophytes, rough_endplates
from SpineSegLib.phantom.people import Build, drawn, drawn_build, personal, streams
from SpineSegLib.phantom.pose import Bow, Column, Region
from SpineSegLib.phantom.shapes import Shape
from SpineSegLib.phantom.sources import Folders, Sources
from SpineSegLib.phantom.surroundings import paint_bones, paint_flesh
from SpineSegLib.phantom.views import grid, levels_of
from SpineSegLib.phantom.voxels import Canvas, Texture, near, paint_bone

SHELL = {"C": 0.75, "T": 0.6, "L": 0.7, "S": 0.9}
"""Mean thickness of the cortex, mm (vertebral shells are 0.4-0.8 mm thick, thicker at the arch)."""


def build_body(kind: str, seed: int, *, shapes: Folders = None, **options) -> Body:
    """Make the digital patient for one kind of image.

    Parameters
    ----------
    kind : ``"lateral-cervical"``, ``"lateral-lumbar"``, ``"ap"``, ``"ct"`` or ``"mr"``
    seed : same seed, same options: same bytes
    shapes : folder of closed surfaces (see `mesh_bones`), several folders, or None for the built-in solids
    **options : any of `Parameters`

    Raises
    ------
    InputError : an unknown or impossible option, or a surface that is open or damaged
    """
    try:
        chosen = Parameters(kind=kind, **options)
    except TypeError as error:
        raise problem(
            "options", str(error), f"names of {', '.join(Parameters.__dataclass_fields__)}", "Correct them"
        ) from error
    if not (isinstance(seed, int | np.integer) and seed >= 0):
        raise problem("seed", f"is {seed!r}", "a whole number from 0 up", "Choose another seed")
    rng = streams(int(seed))
    p = drawn(chosen, rng["person"])
    build = drawn_build(p, rng["person"])
    sources = Sources(shapes, p.mend_holes, rng["source"])
    levels = levels_of(p)
    bones = {level: _bone(sources, p, build, int(seed), level) for level in levels}
    column = posed(p, build, bones, int(seed))
    geometry = grid(p, column)
    canvas = Canvas.empty(geometry)
    girth = drawn_girth(rng["surroundings"], build.size)
    paint_flesh(canvas, p, column, girth, rng["surroundings"])
    segments, centroids = _paint_column(canvas, p, column, bones, rng["texture"])
    paint_bones(canvas, p, column, sources, girth, build.size, rng["surroundings"])
    if p.plate and p.plate[0] in levels and p.plate[1] in levels:
        paint_plate(canvas, column, *p.plate)
    truth = Segmentation((canvas.whole, canvas.part), tuple(segments), geometry)
    shown = [level for level in levels if level in centroids]
    record = {"seed": int(seed), **as_record(p)}
    record["sources"] = {level: bones[level].source for level in levels}
    record["mended"] = sources.mended()
    return Body(canvas.tissue, canvas.density, truth, geometry, measurements(column, centroids, shown), record)


def level_rng(seed: int, level: str, purpose: int) -> np.random.Generator:
    """Return the generator of one level, the same whichever other levels a body shows."""
    key = (100 + purpose, LEVELS.index(level))
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)))


def _bone(sources: Sources, p: Parameters, build: Build, seed: int, level: str) -> Shape:
    """Return one vertebra as it is in this person, with its wear and its diseases."""
    bone = personal(sources.vertebra(level), build, level_rng(seed, level, 0))
    rng = level_rng(seed, level, 3)
    if level != "C1":
        bone = rough_endplates(bone, 0.2 + 0.35 * p.osteophytes, rng)
        bone = osteophytes(bone, p.osteophytes, rng)
    for fracture in p.fractures:
        if fracture.level == level:
            bone = compressed(bone, fracture)
    if level in p.process_fractures:
        bone = broken_process(bone, rng)
    return lysis(bone) if level in p.pars_defects else bone


def posed(p: Parameters, build: Build, bones: dict[str, Shape], seed: int) -> Column:
    """Return the column with every chosen angle, slip and disc height."""
    levels = list(bones)
    marks = {v: atlas_landmarks(s) if v == "C1" else vertebra_landmarks(s) for v, s in bones.items()}
    column = Column(levels, marks, np.zeros((len(levels), 3)), np.zeros((len(levels), 3)))
    joints, discs, slips, side = [], {}, {}, {}
    for upper, lower in pairwise(levels):
        z = level_rng(seed, upper, 1).standard_normal(4)
        if upper == "C1":
            joints.append(0.0)
            continue
        joints.append(pose.BEND[upper] + pose.BEND_SD[upper[0]] * z[0])
        discs[upper] = mean_dimensions(upper).disc * build.size * build.disc * float(np.clip(1 + 0.08 * z[1], 0.7, 1.3))
        if f"{upper}/{lower}" in p.fused:
            discs[upper] *= 0.75
        slips[upper] = 0.25 * float(np.clip(z[2], -2, 2))
        side[upper] = 0.15 * float(np.clip(z[3], -2, 2))
    for item in p.slips:
        if item.level in slips:
            lower = levels[levels.index(item.level) + 1]
            depth = np.linalg.norm(marks[lower]["SA"] - marks[lower]["SP"])
            slips[item.level] = item.percent / 100 * depth
    regions, bows = _regions(p, levels), _bows(p, levels)
    _turn(column, p)
    if "S1" in levels and p.kind != "lateral-cervical":
        anchor = ("S1", "sup", -p.sacral_slope)
    elif "T1" in levels:
        anchor = ("T1", "sup", -p.t1_slope)
    else:
        anchor = (levels[-1], "sup", -5.0 if levels[-1][0] == "T" else 5.0)
    joints = pose.solve_rotations(column, regions, bows, anchor, np.array(joints))
    if levels[0] == "C1":
        # C1 and head make up for the tilt of C2, so that the gaze is level; they do not make up for motion.
        z = level_rng(seed, "C1", 4).standard_normal(2)
        joints[0] = float(np.clip(3.0 - 0.5 * column.rotation[1, 0] + 2.5 * z[0], -12, 16))
        column.rotation[0, 0] = column.rotation[1, 0] + joints[0]
        column.level_gaze = 4.0 * z[1] - column.rotation[0, 0]
    if p.motion and any(region.upper[0] == "C2" for region in regions):
        # The neck moves; what is fused does not.
        stiff = frozenset(disc.partition("/")[0] for disc in p.fused)
        regions[0] = replace(regions[0], angle=p.cervical_lordosis + p.motion)
        joints[0] += 0.15 * p.motion if levels[0] == "C1" else 0.0
        pose.solve_rotations(column, regions, bows, anchor, joints, stiff)
    pose.stack(column, discs, slips, side, anchor[0])
    if "C1" in levels:
        pose.rest_on_axis(column, 1.3 + 0.3 * float(np.clip(level_rng(seed, "C1", 2).standard_normal(), -2, 2)))
    return column


def _regions(p: Parameters, levels: list[str]) -> list[Region]:
    wanted = [
        Region("cervical lordosis", ("C2", "inf"), ("C7", "inf"), p.cervical_lordosis),
        Region("thoracic kyphosis", ("T4", "sup"), ("T12", "inf"), -p.thoracic_kyphosis),
        Region("lumbar lordosis", ("L1", "sup"), ("S1", "sup"), p.lumbar_lordosis),
    ]
    return [region for region in wanted if region.upper[0] in levels and region.lower[0] in levels]


def _bows(p: Parameters, levels: list[str]) -> list[Bow]:
    return [
        Bow(curve.upper, curve.lower, curve.cobb if curve.side == "right" else -curve.cobb)
        for curve in p.curves
        if curve.upper in levels and curve.lower in levels
    ]


def _turn(column: Column, p: Parameters) -> None:
    """Axial rotation: bodies turn to the convex side, most at the apex."""
    for curve in p.curves:
        if curve.upper not in column.levels or curve.lower not in column.levels:
            continue
        a, b = column.index(curve.upper), column.index(curve.lower)
        swell = np.sin(np.linspace(0, np.pi, b - a + 1))
        column.rotation[a : b + 1, 2] += (-1 if curve.side == "right" else 1) * p.rotation * curve.cobb * swell


def _paint_column(canvas: Canvas, p: Parameters, column: Column, bones: dict[str, Shape], rng: np.random.Generator):
    """Paint vertebrae, discs and canal; return the segments and the bodies' centroids."""
    fine, coarse = Texture(rng, 2.2), Texture(rng, 7.0)
    segments: list[Segment] = []
    centroids: dict[str, np.ndarray] = {}
    whole, part = canvas.whole.reshape(-1), canvas.part.reshape(-1)
    for level in reversed(column.levels):
        shape = bones[level]
        found = near(canvas, shape.distance, shape.bounds, column.frame(level))
        if not len(found.index):
            continue
        texture = fine if level[0] in "CT" else coarse
        paint_bone(canvas, found, shell=SHELL[level[0]], mineral=p.mineral, texture=texture)
        own = found[(found.distance < 0) & (whole[found.index] == 0)]
        index, points = own.index, own.points
        if not len(index):
            continue
        structure = Structure("sacrum") if level == "S1" else Structure("vertebra", level)
        segments.append(_label(whole, index, 0, segments, structure))
        body, process = body_and_process(level, points, column.marks[level])
        for kind, mask in (("body", body), ("spinous process", process)):
            if mask.any():
                segments.append(_label(part, index[mask], 1, segments, Structure(kind, level)))
        if level == "C1":
            centroids[level] = _centre(canvas, index)
        elif body.any():
            centroids[level] = _centre(canvas, index[body])
    for upper, lower in pairwise(column.levels):
        if upper == "C1" or lower not in column.levels:
            continue
        name = f"{upper}/{lower}"
        index = paint_disc(canvas, column, upper, lower, coarse, p.mineral if name in p.fused else None)
        if len(index):
            segments.append(_label(whole, index, 0, segments, Structure("disc", name)))
    canal, cord = paint_canal(canvas, column)
    if len(canal):
        segments.append(_label(whole, canal, 0, segments, Structure("spinal canal")))
    if len(cord):
        segments.append(_label(part, cord, 1, segments, Structure("spinal cord")))
    return sorted(segments, key=lambda segment: segment.structure.order), centroids


def _label(layer: np.ndarray, index: np.ndarray, number: int, segments: list[Segment], structure: Structure) -> Segment:
    value = 1 + sum(segment.layer == number for segment in segments)
    layer[index] = value
    return Segment(structure, number, value)


def _centre(canvas: Canvas, index: np.ndarray) -> np.ndarray:
    k, j, i = np.unravel_index(index, canvas.geometry.shape)
    return canvas.geometry.to_world(np.array([k.mean(), j.mean(), i.mean()]))
