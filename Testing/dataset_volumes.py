"""Small exact copies of volumetric data sets as they lie on disk, written with nibabel or SimpleITK for tests."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk

from SpineSegLib.image import LPS_TO_RAS, Geometry

HALF_BODY = np.array([7.0, 6.0, 4.5])
"""Half axes of the toy vertebral bodies to the right, the front and the head, mm."""
BETWEEN = 12.0
TILT = np.array(
    [[0.9254, -0.3187, 0.2049], [0.3422, 0.9352, -0.0909], [-0.1627, 0.1543, 0.9745]]
)  # about 10 degrees about each axis


def rotation() -> np.ndarray:
    """Return a rotation that is near the identity and about all three axes."""
    left, _, right = np.linalg.svd(TILT)
    return left @ right


def affine_towards(codes: str, spacing: tuple[float, float, float], origin=(11.0, -7.0, 23.0)) -> np.ndarray:
    """Return an oblique NIfTI affine whose i, j, k run about towards three of R L A P S I."""
    axes = {"R": (1, 0, 0), "L": (-1, 0, 0), "A": (0, 1, 0), "P": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}
    affine = np.eye(4)
    affine[:3, :3] = rotation() @ np.array([axes[code] for code in codes], float).T * spacing
    affine[:3, 3] = origin
    return affine


@dataclass(frozen=True)
class ToySpine:
    """A CT of a few vertebrae on an oblique grid: bodies are ellipsoids, arches bars behind them.

    Parameters
    ----------
    shape, affine : as nibabel has them (i, j, k)
    labels : from top to bottom
    """

    shape: tuple[int, int, int]
    affine: np.ndarray
    labels: tuple[int, ...]

    @property
    def centres(self) -> dict[int, np.ndarray]:
        """The centre of each body, RAS in mm."""
        middle = self.affine[:3, :3] @ ((np.array(self.shape) - 1) / 2) + self.affine[:3, 3]
        down = BETWEEN * ((len(self.labels) - 1) / 2 - np.arange(len(self.labels)))
        return {label: middle + np.array([2.0, 5.0, height]) for label, height in zip(self.labels, down, strict=True)}

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the CT, the labels of whole vertebrae, and those of the bodies alone; i, j, k."""
        index = np.stack(np.meshgrid(*map(np.arange, self.shape), indexing="ij"), axis=-1)
        world = index @ self.affine[:3, :3].T + self.affine[:3, 3]
        whole, bodies = np.zeros(self.shape, np.uint8), np.zeros(self.shape, np.uint8)
        for label, centre in self.centres.items():
            off = world - centre
            arch = (abs(off[..., 0]) < 3) & (abs(off[..., 1] + 12) < 8) & (abs(off[..., 2] + 2) < 3)
            body = ((off / HALF_BODY) ** 2).sum(axis=-1) < 1
            whole[arch | body] = bodies[body] = label
        return np.where(whole > 0, 400, 40).astype(np.int16), whole, bodies

    def voxels(self) -> dict[int, np.ndarray]:
        """The centres in voxels of the image, i, j, k."""
        inverse = np.linalg.inv(self.affine)
        return {label: inverse[:3, :3] @ centre + inverse[:3, 3] for label, centre in self.centres.items()}


def toy_spine(codes: str = "LAS", spacing=(0.4, 0.4, 2.0), labels=(28, 20, 25)) -> ToySpine:
    """Return a toy spine in a grid just large enough."""
    size = {"R": 30, "L": 30, "A": 46, "P": 46, "S": 50, "I": 50}
    shape = tuple(round(size[code] / step) for code, step in zip(codes, spacing, strict=True))
    return ToySpine(shape, affine_towards(codes, spacing), labels)


def save_nifti(path: Path, array: np.ndarray, affine: np.ndarray) -> Path:
    """Write an i, j, k array."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def save_json(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def save_mha(path: Path, array: np.ndarray, geometry: Geometry) -> Path:
    """Write a k, j, i array on a grid with axes at right angles as MetaImage."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lps = LPS_TO_RAS @ geometry.ijk_to_ras
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(geometry.step[::-1].tolist())
    image.SetDirection((lps[:3, :3] / geometry.step[::-1]).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    sitk.WriteImage(image, str(path))
    return path


def write_verse_bids(root: Path, name: str, spine: ToySpine, direction: str | None = None, *, extra=()) -> None:
    """Write a scan in BIDS form, as VerSe's authors do: the mask in floating point, 'nan' rows among the centroids.

    `direction` is that of the centroids where it is not the image's.
    """
    subject = name.split("_")[0]
    ct, mask, _ = spine.arrays()
    save_nifti(root / "rawdata" / subject / f"{name}_ct.nii.gz", ct, spine.affine)
    derived = root / "derivatives" / subject
    save_nifti(derived / f"{name}_seg-vert_msk.nii.gz", mask.astype(np.float64), spine.affine)
    codes = nib.aff2axcodes(spine.affine)
    axes = tuple(direction or codes)
    rows = [{"direction": list(axes)}]
    for label, voxel in spine.voxels().items():
        x, y, z = turned_as_the_authors_do(voxel, codes, spine.shape, axes)
        rows.append({"label": label, "X": x, "Y": y, "Z": z})
    rows += [{"label": 27, "X": "nan", "Y": "nan", "Z": "nan"}, *extra]
    save_json(derived / f"{name}_seg-subreg_ctd.json", rows)


def turned_as_the_authors_do(voxel, codes, shape, codes_to) -> list[float]:
    """Turn voxel indices of an image with axes `codes` to the axes `codes_to`, a flipped one by size - c."""
    moves = nib.orientations.ornt_transform(*(nib.orientations.axcodes2ornt(one) for one in (codes, codes_to)))
    out = [0.0, 0.0, 0.0]
    for axis, (to, flip) in enumerate(moves):
        out[int(to)] = float(voxel[axis] if flip > 0 else shape[axis] - voxel[axis])
    return out


def write_verse_miccai(folder: Path, name: str, spine: ToySpine, *, year: int) -> None:
    """Write a scan of the challenge of 2019 or 2020, the centroids in mm along that year's axes."""
    ct, mask, _ = spine.arrays()
    save_nifti(folder / f"{name}.nii.gz", ct, spine.affine)
    save_nifti(folder / f"{name}_seg.nii.gz", mask, spine.affine)
    codes = nib.aff2axcodes(spine.affine)
    zooms = nib.affines.voxel_sizes(spine.affine)
    axes = {2019: "IPL", 2020: "PIR"}[year]
    rows = []
    for label, voxel in spine.voxels().items():
        extent = np.array(spine.shape) * zooms
        x, y, z = turned_as_the_authors_do(voxel * zooms, codes, extent, tuple(axes))
        rows.append({"label": label, "X": x, "Y": y, "Z": z})
    save_json(folder / f"{name}{'_ctd' if year == 2019 else '_iso-ctd'}.json", rows)


def spider_grid() -> Geometry:
    """Return a sagittal series of 11 thick slices: columns to the back, rows to the feet, all of it oblique."""
    angles = np.radians([8.0, -6.0, 11.0])
    (ca, cb, cc), (sa, sb, sc) = np.cos(angles), np.sin(angles)
    turn = (
        np.array([[cc, -sc, 0], [sc, cc, 0], [0, 0, 1]])
        @ np.array([[cb, 0, sb], [0, 1, 0], [-sb, 0, cb]])
        @ np.array([[1, 0, 0], [0, ca, -sa], [0, sa, ca]])
    )
    matrix = np.eye(4)
    matrix[:3, :3] = turn @ np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]]) @ np.diag([0.6, 0.7, 3.3])
    matrix[:3, 3] = (-14.0, 33.0, 61.0)
    return Geometry((11, 60, 24), matrix)


def spider_mask(grid: Geometry) -> np.ndarray:
    """Labels from the bottom (row 59) to the top, the topmost vertebra partly outside; a canal that bends sideways."""
    labels = np.zeros(grid.shape, np.int16)
    for number in range(1, 6):
        top = 60 - 11 * number
        labels[2:9, top : top + 8, 4:12] = number
        labels[2:9, top + 8 : top + 11, 4:12] = 200 + number
    labels[2:9, 0:4, 4:12] = 106
    labels[5:8, :, 16:19] = 100
    labels[6:9, :10, 16:19] = 100
    return labels


def write_spider(
    folder: Path, grid: Geometry, names: tuple[str, ...] = ("1_t1", "1_t2", "107_t2_SPACE", "22_t2")
) -> np.ndarray:
    """Write series of SPIDER, all alike; return the image, k, j, i."""
    image = np.random.default_rng(0).integers(0, 900, grid.shape).astype(np.int16)
    for name in names:
        save_mha(folder / "images" / f"{name}.mha", image, grid)
        save_mha(folder / "masks" / f"{name}.mha", spider_mask(grid), grid)
    return image
