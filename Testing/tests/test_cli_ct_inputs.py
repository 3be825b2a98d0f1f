"""Both ways through a CT, slice by slice and slab by slab, from every kind of file, on volumes that are odd."""

import json

import numpy as np
import pytest
import torch
from dicom_writing import write_series
from safetensors.torch import save_file

from SpineSegLib.cli import main
from SpineSegLib.image import Geometry, Image
from SpineSegLib.io import read_segmentation, write_image
from SpineSegLib.pipelines import run as run_module

MODELS = ("linknet34-ct-small", "triview-linknet152-small")
BONE, WATER = 1300, -500


class Bright(torch.nn.Module):
    """Finds what is brighter than half, in the middle channel."""

    stride = 32

    def forward(self, x):
        return 40 * (x[:, x.shape[1] // 2, None] - 0.5)


@pytest.fixture
def segmented(monkeypatch, tmp_path, capsys):
    """Return a function that segments a file with a model and gives mask, grid and table."""
    monkeypatch.setattr(run_module, "load_network", lambda *_: Bright())
    weights, output = tmp_path / "any.safetensors", tmp_path / "found.seg.nrrd"
    save_file({"any": torch.zeros(1)}, str(weights))

    def run(path, model):
        how = ["--modality", "CT", "--device", "cpu", "--precision", "float32", "--json"]
        files = ["--weights", str(weights), "--output", str(output)]
        assert main(["segment", str(path), "--model", model, *files, *how]) == 0
        found = read_segmentation(output)
        return found.foreground, found.geometry, json.loads(capsys.readouterr().out.splitlines()[-1])

    return run


def letter(points):
    """An L with a foot, in world mm: no mirror image or quarter turn of it is itself."""
    x, y, z = np.moveaxis(points, -1, 0)
    stem = (abs(x) < 8) & (abs(y) < 8) & (z > -30) & (z < 30)
    foot = (x > -8) & (x < 26) & (abs(y) < 8) & (z > -30) & (z < -18)
    nose = (abs(x) < 8) & (y > 0) & (y < 22) & (z > 16) & (z < 30)
    return stem | foot | nose


def scan(columns, shape, inside=letter):
    """A CT whose i, j, k run along columns of RAS mm, its middle in the origin, and what is inside."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(columns).T
    matrix[:3, 3] = -matrix[:3, :3] @ ((np.array(shape)[::-1] - 1) / 2)
    return drawn(Geometry(shape, matrix), inside)


def drawn(geometry, inside=letter):
    mask = inside(geometry.to_world(np.stack(np.meshgrid(*map(np.arange, geometry.shape), indexing="ij"), axis=-1)))
    return Image(np.where(mask, BONE, WATER).astype(np.int16), geometry, "CT")


def turned(columns, degrees=(11, -8, 14)):
    from scipy.spatial.transform import Rotation

    return Rotation.from_euler("xyz", degrees, degrees=True).apply(columns)


RAS = [(1.6, 0, 0), (0, 1.8, 0), (0, 0, 2.2)]
LPS = [(-1.6, 0, 0), (0, -1.8, 0), (0, 0, 2.2)]
SIZE = (36, 44, 48)


def as_dicom(image, folder):
    folder.mkdir()
    write_series(folder, image.geometry, (image.array.astype(np.int32) + 1024).astype(np.uint16))
    return folder


def as_file(name):
    def write(image, folder):
        folder.mkdir()
        write_image(image, folder / name)
        return folder / name

    return write


FILES = {"DICOM": as_dicom, "NIfTI": as_file("ct.nii.gz"), "NRRD": as_file("ct.nrrd")}
GRIDS = {"RAS": RAS, "LPS": LPS, "oblique": turned(LPS), "sagittal": [(0, -1.6, 0), (0, 0, -1.8), (2.2, 0, 0)]}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("kind", "columns"),
    [
        ("DICOM", "LPS"),
        ("DICOM", "oblique"),
        ("DICOM", "sagittal"),
        ("NIfTI", "RAS"),
        ("NIfTI", "oblique"),
        ("NRRD", "LPS"),
        ("NRRD", "sagittal"),
    ],
)
def test_the_mask_lies_where_the_bone_is_from_every_file_and_grid(segmented, tmp_path, model, kind, columns):
    image = scan(GRIDS[columns], SIZE)
    mask, geometry, result = segmented(FILES[kind](image, tmp_path / "in"), model)
    assert dice(mask, drawn(geometry).array > 0) > 0.9
    assert result["structures"][0]["volume_mm3"] == pytest.approx(mask.sum() * geometry.voxel_volume)


def dice(a, b):
    return 2 * (a & b).sum() / max(a.sum() + b.sum(), 1)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("slices", [1, 2, 14])
def test_thick_slices_and_a_single_one_are_segmented(segmented, tmp_path, model, slices):
    image = scan([(-1.2, 0, 0), (0, -1.2, 0), (0, 0, 5.0)], (slices, 60, 64))
    mask, _, _ = segmented(FILES["NIfTI"](image, tmp_path / "in"), model)
    assert mask.shape == image.array.shape
    assert dice(mask, image.array > 0) > 0.88


@pytest.mark.parametrize("model", MODELS)
def test_a_neck_cut_at_both_ends_is_found_up_to_its_ends(segmented, tmp_path, model):
    image = scan([(-1.2, 0, 0), (0, -1.2, 0), (0, 0, 1.5)], (32, 48, 48), lambda p: (abs(p[..., :2]) < 10).all(-1))
    mask, _, _ = segmented(FILES["NRRD"](image, tmp_path / "in"), model)
    assert all(dice(mask[k], image.array[k] > 0) > 0.9 for k in (0, 1, 16, 30, 31))


@pytest.mark.parametrize("model", MODELS)
def test_metal_beyond_the_range_of_a_scanner_spoils_nothing_around_it(segmented, tmp_path, model):
    image = scan(LPS, SIZE)
    array = image.array.astype(np.int32)
    k, j, i = np.argwhere(array > 0)[np.count_nonzero(array > 0) // 2]
    array[k - 1 : k + 2, j - 1 : j + 2, i - 1 : i + 2] = 30000
    mask, _, _ = segmented(FILES["NRRD"](Image(array.astype(np.int16), image.geometry, "CT"), tmp_path / "in"), model)
    assert dice(mask, image.array > 0) > 0.9
