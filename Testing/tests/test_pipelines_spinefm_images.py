"""SpineFM on images as they come: pixels that are not square, grids in the patient, DICOM; and its files."""

import dataclasses
import json

import numpy as np
import pytest
from dicom_writing import film as dicom_film
from dicom_writing import save
from ladder import ByHand, film, ladder, ladder_card

from SpineSegLib.anatomy import Structure
from SpineSegLib.evaluation import evaluate
from SpineSegLib.image import Geometry, Image, Segmentation
from SpineSegLib.io import read_image, read_segmentation, write_segmentation
from SpineSegLib.models import card as card_of
from SpineSegLib.networks import build
from SpineSegLib.pipelines import run as run_module
from SpineSegLib.pipelines import segment
from SpineSegLib.pipelines.spinefm.choices import Choices
from SpineSegLib.pipelines.spinefm.finishing import final_mask
from SpineSegLib.pipelines.spinefm.view import View, turns_to_the_head

NECK = ["C2", *["between"] * 4]
LEVELS = ["C2", "C3", "C4", "C5", "C6"]


@pytest.fixture
def through(monkeypatch):
    def run(image, network=None, **options):
        monkeypatch.setattr(run_module, "load_network", lambda model, weights=None: network or ByHand())
        monkeypatch.setattr(run_module.Trial, "of", lambda *_: None)
        return segment(image, options.pop("card", None) or ladder_card(), device="cpu", **options)

    return run


def truth_of(masks, geometry):
    return Segmentation.from_masks(
        {Structure("body", level): mask.reshape(geometry.shape) for level, mask in zip(LEVELS, masks, strict=True)},
        geometry,
    )


def assert_found(found, masks, geometry, least=0.93):
    measured = evaluate(found.segmentation, truth_of(masks, geometry))
    vertebrae = measured.vertebrae["body"]
    assert vertebrae.instances.identified_percent == 100
    assert vertebrae.levels_right_percent == 100 and vertebrae.extra == ()
    assert min(one.dice for one in vertebrae.each) > least
    assert found.segmentation.geometry.same_as(geometry)


def test_pixels_that_are_not_square_are_looked_at_as_squares(through):
    picture, masks = ladder(NECK)
    image = film(picture[:, ::2], step=(0.3, 0.6))
    assert_found(through(image), [mask[:, ::2] for mask in masks], image.geometry, least=0.9)
    # Seen as squares, steps and heights would differ by half: with the card's patches the same are found.
    image = film(picture[::2], step=(0.6, 0.3))
    assert_found(through(image), [mask[::2] for mask in masks], image.geometry, least=0.87)


def in_patient(shape, *, head, right):
    """Return a grid whose rows or columns run along the patient's axes, tilted, off centre and anisotropic.

    Parameters
    ----------
    head, right : vectors of the world along the rows' and the columns' direction, j and i
    """
    angle = np.radians(9.0)
    tilt = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    j, i = (tilt @ np.array(v, float) for v in (head, right))
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([0.35 * i, 0.3 * j, 2.0 * np.cross(i, j)], axis=1)
    matrix[:3, 3] = 13.0, -41.5, 77.25
    return Geometry(shape, matrix)


@pytest.mark.parametrize("turn", range(4))
def test_the_head_is_where_the_grid_in_the_patient_says(through, turn):
    picture, masks = ladder(NECK)
    # A sagittal slice with the face to the left, stored turned by quarters: rows and columns change their meaning.
    directions = [((0, 0, -1), (0, -1, 0)), ((0, 1, 0), (0, 0, -1)), ((0, 0, 1), (0, 1, 0)), ((0, -1, 0), (0, 0, 1))]
    turned = np.ascontiguousarray(np.rot90(picture, turn))
    down, across = directions[turn]
    geometry = in_patient((1, *turned.shape), head=down, right=across)
    assert turns_to_the_head(geometry) == (-turn) % 4
    found = through(Image(turned[None], geometry, "XR"))
    assert_found(found, [np.rot90(mask, turn) for mask in masks], geometry, least=0.9)
    assert not any("upside down" in line for line in found.warnings)


def test_a_transformed_oblique_grid_changes_nothing_but_the_place(through, oblique):
    picture, _ = ladder(NECK)
    matrix = oblique.ijk_to_ras @ np.diag([0.5, 0.5, 1.0, 1.0])
    # Columns and rows of the fixture run across the patient; this one leans, and its head still is at the top.
    plain = through(film(picture))
    geometry = Geometry((1, *picture.shape), matrix)
    found = through(Image(picture[None], geometry, "XR"))
    assert [s.name for s in found.segmentation.segments] == [s.name for s in plain.segmentation.segments]
    assert found.segmentation.geometry.same_as(geometry)


@pytest.mark.parametrize("turns", range(4))
def test_points_and_masks_go_to_the_view_and_back(turns):
    picture = np.zeros((80, 50), np.float32)
    picture[21, 34] = 1
    image = film(picture, step=(0.3, 0.2))
    view = View.of(image, ladder_card(160), turns)
    x, y = view.place(34, 21)
    row, column = np.unravel_index(view.picture.argmax(), view.picture.shape)
    assert np.hypot(x - column, y - row) < 1.5
    np.testing.assert_array_equal(view.back(np.rot90(picture, turns))[0], picture)


def test_the_gaussian_and_its_threshold_are_what_they_say():
    probability = np.zeros((60, 60), np.float32)
    probability[10:50, 20:40] = 0.95
    probability[5:8, 5:8] = 0.95
    probability[10:50, 40:42] = 0.85
    mask = final_mask(probability, 2.0, Choices())
    assert mask[12:48, 20:40].all() and not mask[:, 40:].any() and not mask[:8, :8].any()
    # Rounded corners: a quarter of the Gaussian lies within at the corner itself.
    assert not mask[10, 20]
    assert final_mask(probability, 0.0, Choices(keep_fraction=0))[6, 6]


def test_a_dicom_film_comes_out_with_levels_in_a_file(through, tmp_path):
    picture, masks = ladder(NECK)
    data = dicom_film(np.rint(picture * 4000).astype(np.uint16))
    data.PixelSpacing = [0.3, 0.3]
    path = save(data, tmp_path / "film.dcm")
    image = read_image(path)
    card = ladder_card()
    card = dataclasses.replace(card, input={**card.input, "intensity": {"kind": "window", "low": 0, "high": 4000}})
    found = through(image, card=card)
    assert_found(found, masks, image.geometry)
    write_segmentation(found.segmentation, tmp_path / "found.seg.nrrd")
    again = read_segmentation(tmp_path / "found.seg.nrrd")
    for one, other in zip(found.segmentation.segments, again.segments, strict=True):
        assert (one.name, one.structure, one.colour) == (other.name, other.structure, other.colour)
        np.testing.assert_array_equal(found.segmentation.mask(one), again.mask(other))


def test_vertebrae_without_a_level_survive_the_file(through, tmp_path):
    found = through(film(ladder(["between"] * 4)[0]))
    write_segmentation(found.segmentation, tmp_path / "found.seg.nrrd")
    again = read_segmentation(tmp_path / "found.seg.nrrd")
    assert [s.name for s in again.segments] == [f"unlabelled, {n} from the top" for n in ("1st", "2nd", "3rd", "4th")]
    assert all(s.structure == Structure("bodies") for s in again.segments)


def test_an_empty_result_is_written_and_read_in_every_format(through, tmp_path):
    from SpineSegLib.cli.outputs import write_outputs
    from SpineSegLib.progress import silent

    picture, masks = ladder([None] * 5)
    image = film(picture + np.linspace(0, 0.1, 240))
    found = through(image)
    outputs = [tmp_path / f"found{suffix}" for suffix in (".seg.nrrd", ".nii.gz", ".mrb", ".png")]
    write_outputs(image, found.segmentation, outputs, silent)
    assert all(path.stat().st_size > 0 for path in outputs)
    for path in outputs[:2]:
        again = read_segmentation(path)
        assert again.segments == () and again.geometry.same_as(image.geometry)
        assert evaluate(again, truth_of(masks, image.geometry)).overall["vertebrae_identified_percent"] == 0


def test_probabilities_come_on_the_images_grid_when_asked(through):
    picture, masks = ladder(NECK)
    found = through(film(picture), keep_probability=True)
    for segment_, mask in zip(found.segmentation.segments, masks, strict=True):
        assert segment_.probability.shape == (1, *picture.shape)
        assert segment_.probability[0][mask].mean() > 0.9 and segment_.probability[0].min() >= 0
        inside = found.segmentation.mask(segment_)
        assert ((segment_.probability > 0.5) & inside).sum() > 0.95 * inside.sum()


def test_the_command_line_says_why_each_end_ended(monkeypatch, tmp_path, capsys):
    from SpineSegLib.cli import main
    from SpineSegLib.io.pictures import write_picture

    model = ladder_card()
    model = dataclasses.replace(model, input={**model.input, "intensity": {"kind": "window", "low": 0, "high": 255}})
    monkeypatch.setattr(run_module, "load_network", lambda model, weights=None: ByHand())
    monkeypatch.setattr(run_module.Trial, "of", lambda *_: None)
    (tmp_path / "none.safetensors").write_bytes(b"")
    monkeypatch.setattr("SpineSegLib.models.weights_file", lambda *_: tmp_path / "none.safetensors")
    monkeypatch.setattr("SpineSegLib.models.card", lambda name: model)
    picture, _ = ladder(["between"] * 5)
    write_picture(np.rint(picture * 255).astype(np.uint8), tmp_path / "film.png")
    line = ["segment", str(tmp_path / "film.png"), "--model", "ladder", "--json"]
    line += ["--output", str(tmp_path / "found.seg.nrrd"), "--output", str(tmp_path / "found.png")]
    assert main([*line, "--top-level", "C3"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert [each["level"] for each in content["structures"]] == ["C3", "C4", "C5", "C6", "C7"]
    assert any(line.startswith("Nothing above C3 body: ") for line in content["warnings"])
    assert any(line.startswith("Nothing below C7 body: ") for line in content["warnings"])


def test_the_bundled_networks_run_through_untrained_without_a_crash(monkeypatch):
    """Random weights find nothing, or nonsense: either way an answer comes, and it says why."""
    import torch

    torch.manual_seed(0)
    model = card_of("spinefm-cervical-small")
    network = build(model.network["name"], model.network["arguments"]).eval()
    model = dataclasses.replace(model, input={**model.input, "size": [320, 320]})
    monkeypatch.setattr(run_module, "load_network", lambda *_: network)
    monkeypatch.setattr(run_module.Trial, "of", lambda *_: None)
    image = film(ladder(NECK)[0])
    assert segment(image, model, device="cpu").warnings
    points = [(120 + 0.0006 * (row - 200) ** 2, row) for row in (60, 90, 120)]
    found = segment(image, model, points=points, device="cpu")
    assert found.warnings and found.segmentation.geometry is image.geometry
