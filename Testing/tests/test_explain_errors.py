"""Error maps: what is too much, too little, under another name, and how far away; and their pictures and files."""

import json

import numpy as np
import pytest
from standins import left_in

from SpineSegLib.anatomy import Structure
from SpineSegLib.cli import main
from SpineSegLib.errors import InputError
from SpineSegLib.evaluation.explain import contact_sheet, draw_errors, error_map, tile_of
from SpineSegLib.evaluation.explain.colours import Scale, cool_to_warm
from SpineSegLib.evaluation.explain.drawing import fill, heat
from SpineSegLib.evaluation.explain.errors import FALSE_NEGATIVE, FALSE_POSITIVE, SWAPPED, signed_distance
from SpineSegLib.image import Geometry, Image, Segmentation, SpacingSource
from SpineSegLib.io import read_image, read_segmentation, write_image, write_segmentation
from SpineSegLib.io.planes import film_cut

PROCESS = Structure("spinous processes")


def film(spacing=None):
    """A grid of one slice, with this spacing."""
    source = SpacingSource.HEADER if spacing else SpacingSource.UNKNOWN
    return Geometry((1, 40, 50), np.diag([-(spacing or 1), -(spacing or 1), 1, 1]), source)


def block(geometry, rows, columns, structure=PROCESS):
    """A segmentation of one rectangle."""
    mask = np.zeros(geometry.shape, bool)
    mask[0, slice(*rows), slice(*columns)] = True
    return Segmentation.from_masks({structure: mask}, geometry)


@pytest.mark.parametrize(("spacing", "unit"), [(None, "px"), (0.5, "mm")])
def test_a_mask_shifted_by_three_pixels_errs_by_up_to_three(spacing, unit):
    grid = film(spacing)
    found = error_map(block(grid, (10, 20), (13, 33)), block(grid, (10, 20), (10, 30)))
    step = spacing or 1
    assert found.unit == unit
    assert found.counts() == {FALSE_POSITIVE: 30, FALSE_NEGATIVE: 30}
    over, under = (found.distance[found.kinds[kind]] for kind in (FALSE_POSITIVE, FALSE_NEGATIVE))
    assert sorted(set(over.tolist())) == pytest.approx([step, 2 * step, 3 * step])
    assert sorted(set(under.tolist())) == pytest.approx([-2 * step, -step, 0])
    assert np.isnan(found.distance[~found.wrong]).all()
    assert found.numbers["dice"] == pytest.approx(2 * 170 / 400)
    told = found.to_dict()
    assert (told["farthest_outside"], told["farthest_inside"]) == pytest.approx((3 * step, 2 * step))


def test_distances_hold_on_an_oblique_anisotropic_grid(oblique):
    rng = np.random.default_rng(3)
    truth = rng.random(oblique.shape) > 0.7
    where = rng.random(oblique.shape) > 0.5
    found = signed_distance(truth, where, oblique)
    padded = np.pad(truth, 1)
    inside = truth.copy()
    for axis in range(3):
        for shift in (1, -1):
            inside &= np.roll(padded, shift, axis)[1:-1, 1:-1, 1:-1]
    boundary = oblique.to_world(np.argwhere(truth & ~inside))
    for place in np.argwhere(where)[::7]:
        away = np.linalg.norm(boundary - oblique.to_world(place), axis=1).min()
        expected = -away if truth[tuple(place)] else away
        assert found[tuple(place)] == pytest.approx(expected, abs=1e-4)
    assert np.isnan(found[~where]).all()


def test_a_vertebra_under_its_neighbours_name_is_an_error_of_its_own_kind():
    grid = film()
    t5, t6 = Structure("vertebra", "T5"), Structure("vertebra", "T6")
    masks = [np.zeros(grid.shape, bool) for _ in range(2)]
    masks[0][0, 5:10, 5:15], masks[1][0, 20:25, 5:15] = True, True
    truth = Segmentation.from_masks({t5: masks[0], t6: masks[1]}, grid)
    swapped = Segmentation.from_masks({t6: masks[0], t5: masks[1]}, grid)
    assert error_map(swapped, truth).counts() == {FALSE_POSITIVE: 0, FALSE_NEGATIVE: 0, SWAPPED: 100}
    binary = Segmentation.from_masks({Structure("vertebrae"): masks[0] | masks[1]}, grid)
    assert error_map(binary, truth).counts() == {FALSE_POSITIVE: 0, FALSE_NEGATIVE: 0}


def test_what_the_model_does_not_claim_to_find_is_not_its_error():
    grid = film()
    masks = [np.zeros(grid.shape, bool) for _ in range(2)]
    masks[0][0, 5:10, 5:15], masks[1][0, 20:25, 5:15] = True, True
    disc = Structure("disc", "T5/T6")
    truth = Segmentation.from_masks({Structure("vertebra", "T5"): masks[0], disc: masks[1]}, grid)
    found = error_map(Segmentation.from_masks({Structure("vertebrae"): masks[0]}, grid), truth)
    assert not found.wrong.any() and found.numbers["dice"] == 1
    assert "not looked at: T5/T6 disc" in found.warnings[0]
    strangers = error_map(Segmentation.from_masks({PROCESS: masks[0]}, grid), block(grid, (5, 10), (5, 10), disc))
    assert strangers.counts()[FALSE_POSITIVE] == 25


def test_errors_of_the_probability_are_those_counted_by_hand():
    grid = film()
    truth = block(grid, (10, 20), (10, 30))
    chance = np.zeros(grid.shape, np.float32)
    chance[0, 10:20, 10:30], chance[0, 30:32, 10:20] = 0.75, 0.25
    found = error_map(truth, truth, Image(chance, grid))
    assert found.numbers["foreground_mae"] == pytest.approx(0.25)
    assert found.numbers["global_mae"] == pytest.approx((200 * 0.25 + 20 * 0.25) / 2000)
    assert found.difference[0, 15, 15] == pytest.approx(-0.25)
    assert found.difference[0, 31, 15] == pytest.approx(0.25)
    assert found.to_dict()["mae_of"] == "probability"
    of_mask = error_map(block(grid, (10, 20), (10, 25)), truth)
    assert of_mask.numbers["foreground_mae"] == pytest.approx(50 / 200)
    assert of_mask.difference is None and of_mask.to_dict()["mae_of"] == "mask"


def test_an_empty_truth_has_no_boundary_and_still_a_picture():
    grid = film(0.5)
    found = error_map(block(grid, (10, 20), (10, 30)), block(grid, (0, 0), (0, 0)))
    assert found.distance is None and found.distance_image() is None
    told = found.to_dict()
    json.dumps(told, allow_nan=False)
    assert told["farthest_outside"] is None and told["voxels"][FALSE_POSITIVE] == 200
    assert draw_errors(found).width > 100


def test_layers_leave_what_agrees_untouched():
    grid = film()
    cut = film_cut(grid, shortest=50)
    mask = np.zeros(grid.shape, bool)
    mask[0, 4:8, 6:9] = True
    canvas = np.full((40, 50, 3), 100, np.float32)
    fill(mask, (255, 0, 0), opacity=1)(canvas, cut)
    assert (canvas[mask[0]] == (255, 0, 0)).all() and (canvas[~mask[0]] == 100).all()
    values = np.where(mask, np.float32(2), np.float32(np.nan))
    canvas = np.full((40, 50, 3), 100, np.float32)
    heat(values, Scale(0, 2, "", opacity=1), smooth=False)(canvas, cut)
    assert np.allclose(canvas[mask[0]], cool_to_warm(np.ones(1))[0]) and (canvas[~mask[0]] == 100).all()


def test_warm_colours_are_redder_and_cold_ones_bluer():
    cold, *_, warm = cool_to_warm(np.linspace(0, 1, 9))
    assert warm[0] > 200 > cold[0] and cold[2] > 150 > warm[2]


def test_a_volume_is_drawn_in_three_planes_and_its_errors_survive_the_file(oblique, tmp_path, capsys):
    masks = [np.zeros(oblique.shape, bool) for _ in range(2)]
    masks[0][3:6, 4:9, 5:9], masks[1][3:6, 5:10, 5:9] = True, True
    truth, prediction = (Segmentation.from_masks({Structure("spine"): mask}, oblique) for mask in masks)
    image = Image(np.indices(oblique.shape).sum(0).astype(np.int16), oblique, "CT")
    for name, content in (("p", prediction), ("t", truth)):
        write_segmentation(content, tmp_path / f"{name}.seg.nrrd")
    write_image(image, tmp_path / "ct.nrrd")
    out = tmp_path / "out"
    out.mkdir()
    files = [str(tmp_path / name) for name in ("p.seg.nrrd", "t.seg.nrrd")]
    assert main(["explain", "errors", *files, "--image", str(tmp_path / "ct.nrrd"), "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert left_in(out) == ["distance.nrrd", "errors.png", "errors.seg.nrrd"]
    errors = read_segmentation(out / "errors.seg.nrrd")
    assert np.array_equal(errors.mask(FALSE_POSITIVE), masks[1] & ~masks[0])
    assert np.array_equal(errors.mask(FALSE_NEGATIVE), masks[0] & ~masks[1])
    distance = read_image(out / "distance.nrrd")
    assert distance.geometry.same_as(oblique)
    assert distance.array.max() == pytest.approx(told["farthest_outside"]) == pytest.approx(0.9, abs=1e-5)


@pytest.fixture
def folders(tmp_path):
    """Three cases, the second the worst, the third with a truth of another size, and a fourth without a truth."""
    grid = film()
    for name in ("predictions", "truths", "out"):
        (tmp_path / name).mkdir()
    for number, shift in enumerate((1, 8, 2, 2), start=1):
        write_segmentation(block(grid, (10, 20), (10 + shift, 30 + shift)), tmp_path / f"predictions/{number}.seg.nrrd")
        other = Geometry((1, 41, 50), np.eye(4), SpacingSource.UNKNOWN) if number == 3 else grid
        if number < 4:
            write_segmentation(block(other, (10, 20), (10, 30)), tmp_path / f"truths/{number}.seg.nrrd")
    return tmp_path


def test_the_worst_of_a_folder_come_first_and_failed_cases_are_told(folders, capsys):
    arguments = ["explain", "errors", str(folders / "predictions"), str(folders / "truths"), "--json"]
    assert main([*arguments, "--out", str(folders / "out"), "--worst", "2"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert list(told["worst"]) == ["2", "1"] and told["cases"] == 2
    assert "41" in told["failed"]["3"] and "no truth" in told["failed"]["4"]
    assert left_in(folders / "out") == ["1.png", "2.png", "worst.png"]
    assert main([*arguments, "--out", str(folders / "one.png"), "--worst", "1"]) == 0
    assert list(json.loads(capsys.readouterr().out)["worst"]) == ["2"]


def test_a_contact_sheet_grows_by_rows():
    grid = film()
    tile = tile_of("case", error_map(block(grid, (10, 20), (13, 33)), block(grid, (10, 20), (10, 30))))
    one, five = contact_sheet([tile], title="one"), contact_sheet([tile] * 5, title="five")
    assert five.width > one.width and five.height > 1.8 * one.height


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        (["--out", "x.jpg"], "unknown kind"),
        (["--out", "absent/x.png"], "folder does not exist"),
        (["--out", "x.png", "--worst", "0"], "positive"),
        (["--out", "x.png", "--image", "truths/3.seg.nrrd"], "segmentation"),
    ],
)
def test_bad_arguments_are_one_line(folders, extra, says, capsys, monkeypatch):
    monkeypatch.chdir(folders)
    assert main(["explain", "errors", "predictions/1.seg.nrrd", "truths/1.seg.nrrd", *extra]) == 1
    printed = capsys.readouterr().err
    assert says in printed and printed.count("\n") == 1


def test_an_image_of_another_size_without_spacing_is_refused():
    grid = film()
    found = error_map(block(grid, (10, 20), (13, 33)), block(grid, (10, 20), (10, 30)))
    other = Geometry((1, 20, 50), np.eye(4), SpacingSource.UNKNOWN)
    with pytest.raises(InputError, match="50x20x1"):
        draw_errors(found, Image(np.zeros(other.shape, np.uint8), other))
