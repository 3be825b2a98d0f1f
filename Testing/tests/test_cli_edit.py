"""``edit``: corrections from scripts, and a missed vertebra from one click, with networks made by hand."""

import json

import numpy as np
import pytest
from ladder import ByHand, film, ladder, ladder_card

from SpineSegLib.cli import main
from SpineSegLib.errors import InputError
from SpineSegLib.image import Geometry, Image
from SpineSegLib.io import read_segmentation, write_segmentation
from SpineSegLib.models import card
from SpineSegLib.pipelines import run as run_module
from SpineSegLib.pipelines.editing import add_mask, remove
from SpineSegLib.pipelines.editing.adding import add_at_point
from SpineSegLib.pipelines.levels import vertebrae_segmentation

NECK = ["C2", *["between"] * 6]
LEVELS = ["C2", "C3", "C4", "C5", "C6", "C7", "T1"]


@pytest.fixture
def path(tmp_path, oblique):
    """Four unlabelled vertebrae on an oblique grid."""
    geometry = Geometry((30, 14, 17), oblique.ijk_to_ras)
    masks = np.zeros((4, *geometry.shape), bool)
    for number in range(4):
        masks[number, 24 - 6 * number : 29 - 6 * number, 3:9, 4:12] = True
    path = tmp_path / "spine.seg.nrrd"
    write_segmentation(vertebrae_segmentation(masks, [None] * 4, geometry), path)
    return path


def test_corrections_are_done_in_their_order(path, tmp_path, capsys):
    out = tmp_path / "out.seg.nrrd"
    steps = ["--relabel", "#1", "c3", "--merge", "C3", "C4", "--relabel", "C5", "C4", "--remove", "C5"]
    assert main(["edit", str(path), *steps, "--accept", "--out", str(out), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["vertebrae"] == [{"name": "C3", "level": "C3"}, {"name": "C4", "level": "C4"}]
    assert said["structures"][0]["edited"] == "named C3, was unlabelled; merged with C4"
    before, after = read_segmentation(path), read_segmentation(out)
    assert (after.mask("C3") == before.mask(before.segments[0]) | before.mask(before.segments[1])).all()
    assert (after.mask("C4") == before.mask(before.segments[2])).all()
    assert all(segment.accepted for segment in after.segments)
    assert after.geometry.same_as(before.geometry)


def test_a_split_takes_voxels_as_points(path, tmp_path, capsys):
    out = tmp_path / "out.seg.nrrd"
    steps = ["--relabel", "#1", "C3", "--split", "C4", "2,6,20.4", "14,6,20.4"]
    assert main(["edit", str(path), *steps, "--out", str(out)]) == 0
    found, before = read_segmentation(out), read_segmentation(path)
    parts = [found.mask(segment) for segment in found.segments[1:3]]
    assert (parts[0] ^ parts[1] == before.mask(before.segments[1])).all()
    assert parts[0].any()
    assert parts[1].any()
    assert "wrote" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (["--relabel", "#1", "S1"], "at most"),
        (["--remove", "C9"], "#1 unlabelled"),
        (["--relabel", "#1", "C3", "--add", "3,4"], "--image"),
    ],
)
def test_one_step_that_fails_writes_nothing(path, tmp_path, capsys, steps, expected):
    out = tmp_path / "out.seg.nrrd"
    assert main(["edit", str(path), *steps, "--out", str(out)]) == 1
    line = capsys.readouterr().err.strip()
    assert line.startswith("error: ")
    assert expected in line
    assert "\n" not in line
    assert not out.exists()
    assert main(["edit", str(path), *steps]) == 1
    assert "--out" in capsys.readouterr().err
    for wrong in (["--split", "C3", "1", "2,3"], ["--split-seeds", "C3", "2,3"]):
        with pytest.raises(SystemExit):
            main(["edit", str(path), *wrong])
    assert "two points or more" in capsys.readouterr().err


def test_a_split_takes_a_voxel_in_each_of_many_parts(path, tmp_path):
    out, before = tmp_path / "out.seg.nrrd", read_segmentation(path)
    steps = ["--relabel", "#1", "C3", "--merge", "C3", "C4", "--merge", "C3", "C5"]
    assert (
        main(["edit", str(path), *steps, "--split-seeds", "C3", "8,6,14", "8,6,26", "8,6,20", "--out", str(out)]) == 0
    )
    found = read_segmentation(out)
    assert [segment.name for segment in found.segments] == ["C3", "C4", "C5", "C6"]
    for one, other in zip(found.segments, before.segments, strict=True):
        assert (found.mask(one) == before.mask(other)).all()


@pytest.fixture
def by_hand(monkeypatch):
    """SpineFM's networks made by hand."""
    monkeypatch.setattr(run_module, "load_network", lambda model, weights=None: ByHand())
    monkeypatch.setattr(run_module.Trial, "of", lambda *_: None)


def middle_of(mask) -> tuple[float, float]:
    rows, columns = np.nonzero(mask)
    return float(columns.mean()), float(rows.mean())


@pytest.mark.parametrize("missed", [0, 3, 6])
def test_spinefm_adds_the_one_that_was_clicked(by_hand, missed):
    picture, masks = ladder(NECK)
    image = film(picture)
    whole = vertebrae_segmentation([mask[None] for mask in masks], LEVELS, image.geometry, kind="body")
    left = remove(whole, LEVELS[missed])
    x, y = middle_of(masks[missed])
    added, _ = add_at_point(left, image, ladder_card(), (x + 2, y - 1), device="cpu")
    assert [segment.structure.level for segment in added.segments] == LEVELS
    new = added.find(f"{LEVELS[missed]} body")
    assert "from a click" in new.edited
    found = added.mask(new)[0]
    assert 2 * (found & masks[missed]).sum() / (found.sum() + masks[missed].sum()) > 0.95
    for number, level in enumerate(LEVELS):
        if number != missed:
            assert (added.mask(f"{level} body")[0] == masks[number]).all()
    with pytest.raises(InputError, match="already"):
        add_at_point(whole, image, ladder_card(), (x, y), device="cpu")


def test_without_two_vertebrae_spinefm_knows_no_scale(by_hand):
    picture, masks = ladder(NECK)
    image = film(picture)
    one = vertebrae_segmentation([masks[0][None]], ["C2"], image.geometry, kind="body")
    with pytest.raises(InputError, match="--add"):
        add_at_point(one, image, ladder_card(), middle_of(masks[1]), device="cpu")
    with pytest.raises(InputError, match="takes no point"):
        add_at_point(one, image, card("unet-512"), (3.0, 4.0), device="cpu")


def test_sam_adds_what_the_click_lies_in_and_nothing_else(monkeypatch):
    """A network that finds a disc at the point and another one far away: only the disc clicked on is taken."""
    import torch

    class Two(torch.nn.Module):
        stride = 16

        def prompted(self, x, points):
            y, x_ = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in x.shape[2:]), indexing="ij")
            here = [points[0][0].tolist(), [60.0, 60.0]]
            near = torch.stack([(x_ - px) ** 2 + (y - py) ** 2 < 30**2 for px, py in here])
            return 20 * (near.any(0)[None, None].float() - 0.5)

    monkeypatch.setattr(run_module, "load_network", lambda model, weights=None: Two())
    monkeypatch.setattr(run_module.Trial, "of", lambda *_: None)
    values = np.random.default_rng(0).integers(0, 255, (1, 300, 200)).astype(np.uint8)
    image = Image(values, Geometry(values.shape, np.diag([-0.2, -0.3, 1, 1])), "XR")
    boxes = np.zeros((2, 1, 300, 200), bool)
    boxes[0, 0, 100:120, 120:160] = boxes[1, 0, 220:240, 120:160] = True
    empty = vertebrae_segmentation([], [], image.geometry)
    found = add_mask(add_mask(empty, boxes[0], kind="spinous process"), boxes[1], kind="spinous process")
    assert [segment.structure.kind for segment in found.segments] == ["spinous processes"] * 2
    added, _ = add_at_point(found, image, card("sam"), (140.0, 170.0), device="cpu")
    assert [segment.name for segment in added.segments][1] == "unlabelled, 2nd from the top"
    new = added.mask(added.segments[1])[0]
    np.testing.assert_allclose(middle_of(new), (140, 170), atol=0.6)
    # The square fits 300 rows of 0.3 mm into 1024 pixels.
    assert new.sum() == pytest.approx(np.pi * (30 * 90 / 1024) ** 2 / 0.06, rel=0.05)
    with pytest.raises(InputError, match="--point"):
        add_at_point(found, image, card("sam"), (250.0, 170.0), device="cpu")
