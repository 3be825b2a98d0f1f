"""Domain randomisation of a labelled CT: other patients and other scanners around the same spine.

One scan shows one abdomen. What a network must learn to ignore elsewhere (ribs, lungs, vessels full of contrast
medium, shoulders, noise, thick slices) is drawn into it at random, always behind the labelled spine, whose voxels keep
their shape. Randomising what does not matter follows Tobin et al., IROS 2017, and Billot et al., SynthSeg, MedIA 2023.

Arrays here are k, j, i towards head, back and left (the axes of `canonical`), with one isotropic step in mm.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional


def smooth_field(shape: tuple[int, ...], scale: float, random: np.random.Generator) -> np.ndarray:
    """Return a smooth random field with mean 0 and standard deviation 1; `scale` is its correlation in voxels."""
    coarse = [max(3, int(np.ceil(n / scale)) + 2) for n in shape]
    mode = {2: "bilinear", 3: "trilinear"}[len(shape)]
    values = torch.from_numpy(random.standard_normal(coarse).astype(np.float32))[None, None]
    # Stretched to about `scale` voxels a node, whatever the shape; torch is ten times as fast as ndimage here.
    wide = [max(n, round((c - 1) * scale) + 1) for n, c in zip(shape, coarse, strict=True)]
    field = functional.interpolate(values, wide, mode=mode, align_corners=True)[0, 0].numpy()
    field = field[tuple(slice(0, n) for n in shape)]
    return (field - field.mean()) / max(float(field.std()), 1e-6)


def randomise_ct(hu: np.ndarray, spine: np.ndarray, step: float, random: np.random.Generator) -> np.ndarray:
    """Return another patient around the same spine.

    Parameters
    ----------
    hu : float32 k, j, i array (head, back, left), Hounsfield units
    spine : boolean array, the labelled bone
    step : mm
    random : what draws everything
    """
    out = hu.astype(np.float32, copy=True)
    inside = ndimage.binary_fill_holes(ndimage.binary_closing(hu > -400, iterations=2))
    depth = ndimage.distance_transform_edt(inside) * step
    away = ndimage.distance_transform_edt(~spine) * step
    axis = axis_of(spine)
    bone = (hu > 180) & ~spine
    _soft_tissue(out, inside, spine, bone, random)
    if random.random() < 0.75:
        _lungs(out, inside, depth, away, axis, step, random)
    if random.random() < 0.9:
        _vessels(out, away, axis, step, random)
    if random.random() < 0.85:
        _ribs(out, inside, depth, away, axis, step, random)
    if random.random() < 0.7:
        _plates(out, inside, depth, away, step, random)
    _bone(out, spine | bone, random)
    return _scanner(out, step, random)


def axis_of(spine: np.ndarray) -> np.ndarray:
    """Return the spine's centre (j, i) in every slice, extended to the ends."""
    slices = np.flatnonzero(spine.any(axis=(1, 2)))
    centres = np.array([ndimage.center_of_mass(spine[k]) for k in slices])
    k = np.arange(spine.shape[0])
    return np.stack([np.interp(k, slices, centres[:, n]) for n in range(2)], axis=1)


def _soft_tissue(
    out: np.ndarray, inside: np.ndarray, spine: np.ndarray, bone: np.ndarray, random: np.random.Generator
) -> None:
    soft = inside & ~spine & ~bone & (out > -150)
    gain, offset = random.uniform(0.6, 1.5), random.uniform(-20, 60)
    out[soft] = (
        out[soft] * gain + offset + random.uniform(0, 35) * smooth_field(out.shape, random.uniform(6, 20), random)[soft]
    )


def _lungs(
    out: np.ndarray,
    inside: np.ndarray,
    depth: np.ndarray,
    away: np.ndarray,
    axis: np.ndarray,
    step: float,
    random: np.random.Generator,
) -> None:
    """Replace soft tissue on both sides of the spine by lung, with its vessels; the middle stays for heart and gut."""
    field = smooth_field(out.shape, random.uniform(25, 60) / step, random) * random.uniform(4, 14)
    aside = np.abs(np.arange(out.shape[2])[None] - axis[:, 1, None])[:, None, :] * step
    ahead = (axis[:, 0, None] - np.arange(out.shape[1])[None])[:, :, None] * step
    wall = random.uniform(8, 28)
    middle = random.uniform(12, 45) * np.clip((ahead + 30) / 60, 0.25, 1.3)
    lung = (
        inside
        & (depth > wall + field)
        & (aside > middle + field)
        & (away > random.uniform(1, 9))
        & (ahead > field * 2 - random.uniform(5, 40))
    )
    k = np.arange(out.shape[0])[:, None, None] * step
    if random.random() < 0.6:  # A diaphragm: lung only above it.
        dome = random.uniform(-40, 0.9 * out.shape[0] * step) + 25 * smooth_field(
            (1, *out.shape[1:]), 30 / step, random
        )
        lung &= k > dome
    out[lung] = lung_texture(out.shape, random)[lung]


def lung_texture(shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    """Return the HU of a lung with its vessels."""
    texture = random.uniform(-900, -780) + random.uniform(15, 60) * smooth_field(shape, random.uniform(1.2, 3), random)
    vessel = smooth_field(shape, random.uniform(2, 5), random) > random.uniform(1.6, 2.4)
    return np.where(vessel, random.uniform(-200, 120), texture)


def _tube(
    shape: tuple[int, ...], points: np.ndarray, radius: float, step: float
) -> tuple[tuple[slice, ...], np.ndarray] | None:
    """Return the distance (mm) to a polyline of (k, j, i) voxel points, within a box that holds the tube."""
    reach = radius / step + 2
    low = np.maximum(np.floor(points.min(0) - reach), 0).astype(int)
    high = np.minimum(np.ceil(points.max(0) + reach) + 1, shape).astype(int)
    if (high <= low).any():
        return None
    distance = np.full(high - low, np.inf, np.float32)
    ball = np.argwhere(np.ones((2 * int(reach) + 1,) * 3, bool)) - int(reach)
    ball = ball[(ball**2).sum(axis=1) <= reach**2]
    where = np.rint(points).astype(int)[:, None] + ball
    apart = np.sqrt((((where - points[:, None]) * step) ** 2).sum(axis=2)).astype(np.float32)
    inside = ((where >= low) & (where < high)).all(axis=2)
    np.minimum.at(distance, tuple((where[inside] - low).T), apart[inside])
    return tuple(map(slice, low, high)), distance


def _vessels(out: np.ndarray, away: np.ndarray, axis: np.ndarray, step: float, random: np.random.Generator) -> None:
    """Aorta, great veins and heart chambers with more or less contrast medium, up to the brightness of bone."""
    for _ in range(random.integers(1, 6)):
        radius = random.uniform(6, 17)
        bright = random.uniform(90, 550)
        side, ahead = random.uniform(-35, 35) / step, random.uniform(22, 75) / step
        k = np.linspace(0, out.shape[0] - 1, 200)
        sway = np.cumsum(random.standard_normal((6, 2)), axis=0) * 8 / step
        sway = np.stack([np.interp(k, np.linspace(0, out.shape[0], 6), sway[:, n]) for n in range(2)], axis=1)
        centre = np.stack([np.interp(k, np.arange(out.shape[0]), axis[:, n]) for n in range(2)], axis=1)
        points = np.column_stack([k, centre[:, 0] - ahead + sway[:, 0], centre[:, 1] + side + sway[:, 1]])
        found = _tube(out.shape, points, radius, step)
        if found:
            box, distance = found
            where = (distance < radius) & (away[box] > random.uniform(0.5, 4))
            out[box][where] = bright + random.normal(0, 12, where.sum())
    for _ in range(random.integers(1, 6)):
        _heart(out, away, axis, step, random)


def _heart(out: np.ndarray, away: np.ndarray, axis: np.ndarray, step: float, random: np.random.Generator) -> None:
    """Chambers of a heart, or another organ, each with more or less contrast medium, in front of the spine."""
    level = int(random.integers(len(axis)))
    aside, ahead = random.uniform(-40, 40) / step, random.uniform(40, 100) / step
    middle = np.array([level, axis[level, 0] - ahead, axis[level, 1] + aside])
    muscle, blood, noise = random.uniform(40, 220), random.uniform(100, 550), random.uniform(5, 40)
    for number in range(random.integers(1, 6)):
        radii = random.uniform(12, 38, 3) * (1.6 if number == 0 else 1) / step
        centre = middle + (0 if number == 0 else random.normal(0, 22 / step, 3))
        low = np.maximum(np.floor(centre - 1.4 * radii), 0).astype(int)
        high = np.minimum(np.ceil(centre + 1.4 * radii) + 1, out.shape).astype(int)
        if (high <= low).any():
            continue
        box = tuple(map(slice, low, high))
        grid = np.indices(high - low, sparse=True)
        size = sum(((g + s - c) / r) ** 2 for g, s, c, r in zip(grid, low, centre, radii, strict=True))
        where = (size < 1 + 0.2 * smooth_field(size.shape, 20 / step, random)) & (away[box] > 4)
        value = muscle if number == 0 else blood * random.uniform(0.6, 1.1)
        out[box][where] = value + noise * random.standard_normal(int(where.sum()))


def _draw_bone(
    out: np.ndarray,
    box: tuple[slice, ...],
    distance: np.ndarray,
    radius: float,
    allowed: np.ndarray,
    random: np.random.Generator,
) -> None:
    shell = random.uniform(1.2, 2.6)
    cortex = allowed & (distance < radius)
    marrow = allowed & (distance < radius - shell)
    out[box][cortex] = random.uniform(350, 1100)
    out[box][marrow] = random.uniform(40, 380)


def _ribs(
    out: np.ndarray,
    inside: np.ndarray,
    depth: np.ndarray,
    away: np.ndarray,
    axis: np.ndarray,
    step: float,
    random: np.random.Generator,
) -> None:
    """Ribs from beside the spine round the wall of the trunk, sloping down to the front."""
    pitch = random.uniform(18, 34)
    for start in np.arange(random.uniform(0, pitch), out.shape[0] * step + 60, pitch):
        for side in (-1, 1):
            k0 = start / step
            level = int(np.clip(k0, 0, out.shape[0] - 1))
            columns = np.flatnonzero(inside[level].any(axis=0))
            rows = np.flatnonzero(inside[level].any(axis=1))
            if len(columns) < 10 or len(rows) < 10:
                continue
            j0, i0 = axis[level]
            wall = random.uniform(8, 22) / step
            centre = np.array([(rows[0] + rows[-1]) / 2, (columns[0] + columns[-1]) / 2])
            a = max(rows[-1] - centre[0] - wall, 5)
            b = max((columns[-1] - columns[0]) / 2 - wall, 5)
            angle = np.linspace(0.12, random.uniform(1.7, 2.7), 240)
            j = centre[0] + a * np.cos(angle)
            i = centre[1] + side * b * np.sin(angle)
            # The first part leaves the transverse process and swings out to the wall.
            join = np.clip(angle / 0.75, 0, 1) ** 1.5
            gap = random.uniform(20, 34) / step
            j = (1 - join) * (j0 + random.uniform(-4, 10) / step) + join * j
            i = (1 - join) * (i0 + side * gap) + join * i
            slope = random.uniform(0.1, 0.55) * (a + b) / 2
            points = np.column_stack([k0 - slope * (angle - angle[0]), j, i])
            radius = random.uniform(4, 7.5)
            found = _tube(out.shape, points, radius, step)
            if found:
                box, distance = found
                _draw_bone(out, box, distance, radius, (away[box] > random.uniform(0.5, 4)) & inside[box], random)


def _plates(
    out: np.ndarray, inside: np.ndarray, depth: np.ndarray, away: np.ndarray, step: float, random: np.random.Generator
) -> None:
    """Flat and long bones away from the spine: sternum, shoulder blades, humerus, pelvis, calcifications."""
    candidates = np.argwhere(inside & (away > 35) & (depth > 4))
    if not len(candidates):
        return
    for _ in range(random.integers(1, 7)):
        centre = candidates[random.integers(len(candidates))]
        direction = random.standard_normal((2, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        length, breadth = random.uniform(8, 80), random.choice([0.0, 1.0]) * random.uniform(5, 40)
        s, t = np.meshgrid(np.linspace(-0.5, 0.5, 60), np.linspace(-0.5, 0.5, 30))
        bend = random.uniform(-20, 20) * (s**2)
        points = (
            centre
            + (
                s[..., None] * length * direction[0]
                + t[..., None] * breadth * direction[1]
                + bend[..., None] * np.cross(*direction)
            )
            / step
        )
        radius = random.uniform(3, 12 if breadth == 0 else 6)
        found = _tube(out.shape, points.reshape(-1, 3), radius, step)
        if found:
            box, distance = found
            _draw_bone(out, box, distance, radius, (away[box] > 12) & inside[box], random)


def _bone(out: np.ndarray, bone: np.ndarray, random: np.random.Generator) -> None:
    """Denser and sparser bone, with a texture of its own."""
    values = out[bone]
    gain = random.uniform(0.65, 1.5)
    texture = random.uniform(0, 60) * smooth_field(out.shape, random.uniform(1.5, 5), random)[bone]
    out[bone] = 60 + (values - 60) * gain + random.uniform(-40, 60) + texture


def _scanner(out: np.ndarray, step: float, random: np.random.Generator) -> np.ndarray:
    """Blur of the kernel and of thick slices, streaks and noise."""
    sigma = np.array([random.uniform(0, 1.1), *([random.uniform(0, 0.6)] * 2)])
    if random.random() < 0.3:
        sigma = random.permutation(sigma)
    out = ndimage.gaussian_filter(out, sigma)
    noise = random.uniform(5, 60) * np.exp(0.4 * random.standard_normal())
    grain = ndimage.gaussian_filter(random.standard_normal(out.shape).astype(np.float32), random.uniform(0, 0.8))
    return (out + noise * grain / max(float(grain.std()), 1e-6) + random.uniform(-25, 25)).astype(np.float32)


def with_background(
    hu: np.ndarray,
    spine: np.ndarray,
    other_hu: np.ndarray,
    other_spine: np.ndarray,
    step: float,
    random: np.random.Generator,
) -> np.ndarray:
    """Return the patient with the soft tissue of another scan, its gut, vessels and textures, around his own bones.

    Parameters
    ----------
    hu, spine : float32 and boolean k, j, i arrays of the patient
    other_hu, other_spine : of the scan that gives its soft tissue, of any size at any step
    step : mm, of the patient
    random : what draws the place, the mirroring and the size of the other's texture
    """
    soft_there = (other_hu > -150) & (other_hu < 180) & ~ndimage.binary_dilation(other_spine, iterations=2)
    if not soft_there.any():
        return hu
    # Bones and air of the scan are filled with the tissue nearest to them.
    nearest = ndimage.distance_transform_edt(~soft_there, return_distances=False, return_indices=True)
    texture = other_hu[tuple(nearest)]
    for axis in (0, 1, 2):
        texture = np.flip(texture, axis) if random.random() < 0.5 else texture
    scale = random.uniform(0.8, 1.6)
    texture = ndimage.zoom(texture, scale, order=1)
    start = [int(random.integers(n)) for n in texture.shape]
    # Mirrored tiles have no seams.
    index = [
        np.abs((np.arange(n) + s + m - 1) % (2 * m - 2) - (m - 1)) if m > 1 else np.zeros(n, int)
        for n, s, m in zip(hu.shape, start, texture.shape, strict=True)
    ]
    inside = ndimage.binary_fill_holes(ndimage.binary_closing(hu > -400, iterations=2))
    soft = inside & (hu > -200) & (hu < 180) & ~ndimage.binary_dilation(spine, iterations=1)
    out = hu.copy()
    out[soft] = texture[np.ix_(*index)][soft] + 0.5 * (hu[soft] - float(hu[soft].mean()))
    return out


def with_table(hu: np.ndarray, step: float, random: np.random.Generator) -> np.ndarray:
    """Return the patient on a scanner's table: a plate of two layers behind his back, as far as the volume reaches."""
    rows = np.flatnonzero((hu > -300).any(axis=(0, 2)))
    if not len(rows):
        return hu
    out = hu.copy()
    first = rows[-1] + 1 + round(random.uniform(0, 25) / step)
    thickness = max(1, round(random.uniform(2, 6) / step))
    left, right = sorted(random.uniform([0, 0.7], [0.3, 1]) * hu.shape[2])
    for gap in (0, round(random.uniform(15, 60) / step)):
        layer = out[:, first + gap : first + gap + thickness, int(left) : int(right)]
        layer[...] = np.maximum(layer, random.uniform(-300, 400))
    return out
