"""YOLO-UNet's pipeline with networks made by hand: what is found where, what it is called, what the user is told."""

import dataclasses
from itertools import permutations, product

import numpy as np
import pytest
import torch
from dicom_writing import film as dicom_film
from dicom_writing import save
from ladder import STEP, film, ladder
from scipy import ndimage

from SpineSegLib.anatomy import Structure
from SpineSegLib.errors import InputError
from SpineSegLib.image import Geometry, Image
from SpineSegLib.io import read_image, read_segmentation, write_segmentation
from SpineSegLib.models import card
from SpineSegLib.models.cards import Weights
from SpineSegLib.pipelines import run as run_module
from SpineSegLib.pipelines import segment

NECK = ["C2", *["between"] * 6]
LEVELS = ["C2", "C3", "C4", "C5", "C6", "C7", "T1"]


class Regions:
    """Detects every bright region: class 0 where its upper half is brightest (C2), 1 elsewhere.

    A region whose upper half is not the brighter one is seen with half the score.
    """

    def __init__(self, score=0.9, upside_down=0.45, classes=True, masks=False):
        self.score, self.upside_down, self.classes, self.masks = score, upside_down, classes, masks

    def detect(self, images, *, score, iou, most):
        return [self._one(image[0].numpy(), score) for image in images]

    def _one(self, picture, least):
        parts, _ = ndimage.label(picture > 0.2)
        found = {"boxes": [], "scores": [], "labels": [], "masks": []}
        for number, (rows, columns) in enumerate(ndimage.find_objects(parts), start=1):
            mask = parts == number
            if mask.sum() < 60:
                continue
            middle = (rows.start + rows.stop) // 2
            upper, lower = (
                picture[part, columns][mask[part, columns]].mean()
                for part in (slice(rows.start, middle), slice(middle, rows.stop))
            )
            score = self.score if upper > lower + 0.02 else self.upside_down
            if score < least:
                continue
            found["boxes"].append([columns.start, rows.start, columns.stop, rows.stop])
            found["scores"].append(score)
            found["labels"].append(0 if upper > 0.9 and self.classes else 1)
            found["masks"].append(mask.astype(np.float32))
        out = {
            "boxes": torch.tensor(found["boxes"], dtype=torch.float32).reshape(-1, 4),
            "scores": torch.tensor(found["scores"], dtype=torch.float32),
            "labels": torch.tensor(found["labels"], dtype=torch.int64),
        }
        if self.masks:
            out["masks"] = torch.from_numpy(np.array(found["masks"], np.float32).reshape(-1, *picture.shape))
        return out


class Bright(torch.nn.Module):
    """Takes what is bright for a vertebra."""

    stride = 16

    def forward(self, x):
        return 40 * (x[:, :1] - 0.3)


class ByHand(torch.nn.Module):
    patch = 96

    def __init__(self, detector=None):
        super().__init__()
        self.detector, self.segmenter = detector or Regions(), Bright()


def by_hand_card(name="yolo-unet-cervical-small", size=400, **arguments):
    model = card(name)
    return dataclasses.replace(
        model,
        input={"size": [size, size], "channels": 1, "intensity": {"kind": "window", "low": 0, "high": 1}},
        pipeline={"name": model.pipeline["name"], "arguments": {**model.pipeline["arguments"], **arguments}},
        weights=Weights(),
    )


def neck(kinds=NECK, **how):
    """Return a ladder whose rectangles are brighter above, so that up and down can be told, and their masks."""
    picture, masks = ladder(kinds, **how)
    for kind, mask in zip(kinds, masks, strict=True):
        rows = np.flatnonzero(mask.any(axis=1))
        if kind is not None and len(rows):
            upper = mask & (np.arange(len(mask)) <= rows.mean())[:, None]
            picture[upper] += 0.1
    return picture, masks


@pytest.fixture
def through(monkeypatch):
    """Return a function that segments an image with networks made by hand."""

    def run(image, network=None, *, model=None, **options):
        monkeypatch.setattr(run_module, "load_network", lambda *_: network or ByHand())
        monkeypatch.setattr(run_module.Trial, "of", lambda *_: None)
        return segment(image, model or by_hand_card(), device="cpu", **options)

    return run


def levels(found):
    return [each.structure.level for each in found.segmentation.segments]


def names(found):
    return [each.name for each in found.segmentation.segments]


def said(found, text):
    return any(text in line for line in found.warnings)


def masks_of(found):
    return [found.segmentation.mask(each) for each in found.segmentation.segments]


def dice(one, other):
    return 2 * (one & other).sum() / (one.sum() + other.sum())


def test_a_neck_is_one_segment_a_body_named_from_c2_down(through):
    picture, masks = neck()
    found = through(film(picture))
    assert levels(found) == LEVELS
    assert names(found) == [f"{level} body" for level in LEVELS]
    assert all(dice(mask[0], truth) > 0.95 for mask, truth in zip(masks_of(found), masks, strict=True))
    for each in found.segmentation.segments:
        assert each.structure.code.value == "3572006"
        assert each.colour == each.structure.colour
    assert found.warnings == ()


def test_a_missed_vertebra_is_told_and_those_below_keep_their_levels(through):
    picture, _ = neck([*NECK[:3], None, *NECK[4:]])
    found = through(film(picture))
    assert levels(found) == ["C2", "C3", "C4", "C6", "C7", "T1"]
    assert said(found, "Between C4 and C6 one vertebra was probably missed")


def test_c7_behind_the_shoulders_is_just_not_there(through):
    picture, _ = neck(NECK[:5])
    found = through(film(picture))
    assert levels(found) == LEVELS[:5]
    assert found.warnings == ()


def test_beyond_several_missed_vertebrae_no_level_is_claimed(through):
    picture, _ = neck([*NECK[:3], None, None, *NECK[5:], "between"], top=40)
    found = through(film(picture))
    assert levels(found) == ["C2", "C3", "C4", None, None, None]
    assert names(found)[3] == "unlabelled, 4th from the top"
    assert said(found, "Between C4 and unlabelled, 4th from the top several vertebrae were probably missed")


def test_a_fused_pair_counts_as_two_and_says_so(through):
    picture, _ = neck()
    rows = slice(60 + 3 * STEP, 60 + 4 * STEP)
    columns = np.flatnonzero(picture[60 + 3 * STEP] > 0.2)
    picture[rows, columns[0] : columns[-1] + 1] = 0.6
    found = through(film(picture))
    assert levels(found) == ["C2", "C3", "C4", "C5", "C7", "T1"]
    assert names(found)[3] == "C5 body (doubtful)"
    assert said(found, "C5 is much higher than its neighbours")


def test_a_broken_off_piece_beside_a_body_changes_nothing(through):
    picture, masks = neck()
    whole = through(film(picture))
    picture[60 + 2 * STEP : 66 + 2 * STEP, 144:150] = 0.6
    found = through(film(picture))
    assert levels(found) == levels(whole)
    assert all(np.array_equal(one, two) for one, two in zip(masks_of(found), masks_of(whole), strict=True))
    assert dice(masks_of(found)[2][0], masks[2]) > 0.95


def test_three_vertebrae_without_c2_are_unlabelled_until_one_is_named(through):
    picture, _ = neck(["between"] * 3, top=150)
    found = through(film(picture))
    assert names(found) == [f"unlabelled, {nth} from the top" for nth in ("1st", "2nd", "3rd")]
    assert {each.structure.kind for each in found.segmentation.segments} == {"bodies"}
    assert said(found, "--top-level")
    named = through(film(picture), top_level="C4")
    assert levels(named) == ["C4", "C5", "C6"]
    beyond = through(film(picture), top_level="L5")
    assert names(beyond) == names(found)
    assert said(beyond, "--top-level: L5 with 0 vertebrae above it and 2 below")
    with pytest.raises(InputError, match="--top-level: 'C9'"):
        through(film(picture), top_level="C9")


def test_what_the_user_says_goes_before_the_detectors_c2(through):
    picture, _ = neck(NECK[:4])
    found = through(film(picture), top_level="C3")
    assert levels(found) == ["C3", "C4", "C5", "C6"]
    assert said(found, "The detector took C3 for C2; --top-level was followed")


def test_a_picture_upside_down_is_noticed_and_read_the_right_way(through):
    picture, masks = neck()
    found = through(film(picture[::-1, ::-1]))
    assert levels(found) == LEVELS
    assert said(found, "upside down")
    assert all(dice(mask[0, ::-1, ::-1], truth) > 0.95 for mask, truth in zip(masks_of(found), masks, strict=True))


def test_c2_below_all_others_gives_an_upside_down_picture_away(through):
    picture, _ = neck([*NECK[1:], "C2"])
    found = through(film(picture), ByHand(Regions(upside_down=0.9)))
    assert levels(found) == LEVELS
    assert said(found, "upside down: the lowest vertebra was taken for the one nearest to the head")
    rows = [np.nonzero(mask[0])[0].mean() for mask in masks_of(found)]
    assert rows == sorted(rows, reverse=True)


def test_upside_down_without_any_known_level_nothing_is_claimed(through):
    picture, _ = neck(["between"] * 5)
    found = through(film(picture[::-1]), ByHand(Regions(upside_down=0.9)))
    assert levels(found) == [None] * 5
    assert said(found, "Nothing tells the levels")
    assert said(found, "its top was taken for cranial")


def test_a_c2_that_cannot_be_is_not_believed(through):
    picture, _ = neck(["between", "between", "C2", "between", "between", "between"])
    found = through(film(picture))
    assert levels(found) == [None] * 6
    assert said(found, "took number 3 from the top for C2, which cannot be with 2 above it")


def test_one_box_above_c2_is_left_out_and_told(through):
    picture, _ = neck(["between", *NECK[:5]])
    found = through(film(picture))
    assert levels(found) == LEVELS[:5]
    assert said(found, "One box above C2 was left out")


@pytest.mark.parametrize("array", [np.zeros((1, 300, 200)), np.random.default_rng(0).uniform(0, 0.2, (1, 300, 200))])
def test_without_a_spine_the_result_is_empty_and_says_so(through, tmp_path, array):
    array[0, 0, 0] = 0.05  # not quite constant
    found = through(film(array[0]))
    assert found.segmentation.segments == ()
    assert not found.segmentation.foreground.any()
    least = by_hand_card().pipeline["arguments"]["score"]
    assert said(found, f"No vertebra was found: nothing has a score of {least:g} or more")
    write_segmentation(found.segmentation, tmp_path / "empty.seg.nrrd")
    assert read_segmentation(tmp_path / "empty.seg.nrrd").segments == ()


def test_pixels_outside_of_box_and_margin_are_rejected(through):
    picture, masks = neck()
    # A bar beside the spine, too narrow for the detector, that the patches show.
    bar = np.zeros_like(masks[0])
    bar[100:260:4, 170:190] = True
    picture[bar] = 0.9
    found = through(film(picture), model=by_hand_card(keep_fraction=0.0))
    assert levels(found) == LEVELS
    outside = np.logical_or.reduce(masks_of(found))[0] & bar
    reached = np.logical_or.reduce([_with_margin(mask, 0.125) for mask in masks])
    assert not (outside & ~reached).any()


def _with_margin(mask, margin):
    rows, columns = np.nonzero(mask)
    more = round(margin * max(np.ptp(rows), np.ptp(columns))) + 1
    out = np.zeros_like(mask)
    out[rows.min() - more : rows.max() + 1 + more, columns.min() - more : columns.max() + 1 + more] = True
    return out


def test_a_vertebra_seen_as_two_classes_is_still_one(through):
    class Twice(Regions):
        def detect(self, images, **how):
            (found,) = super().detect(images, **how)
            scores = torch.cat([found["scores"], found["scores"] - 0.1])
            again = torch.zeros_like(found["labels"])
            return [
                {
                    "boxes": found["boxes"].repeat(2, 1),
                    "scores": scores,
                    "labels": torch.cat([found["labels"], again]),
                }
            ]

    picture, _ = neck()
    assert levels(through(film(picture), ByHand(Twice()))) == LEVELS


@pytest.mark.parametrize("step", [(0.3, 0.3), (0.45, 0.2)])
def test_masks_lie_in_place_on_an_oblique_transformed_film_with_unequal_steps(through, step):
    from scipy.spatial.transform import Rotation

    picture, masks = neck()
    rows = np.linspace(0, 399, round(400 * 0.3 / step[0])).round().astype(int)
    columns = np.linspace(0, 239, round(240 * 0.3 / step[1])).round().astype(int)
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", (25, -50, 70), degrees=True).as_matrix() @ np.diag(
        [-step[1], -step[0], 1.0]
    )
    matrix[:3, 3] = (17, -40, 300)
    geometry = Geometry((1, len(rows), len(columns)), matrix)
    found = through(film(picture[np.ix_(rows, columns)], geometry=geometry))
    assert found.segmentation.geometry.same_as(geometry)
    assert levels(found) == LEVELS
    for mask, truth in zip(masks_of(found), masks, strict=True):
        assert dice(mask[0], truth[np.ix_(rows, columns)]) > 0.9


def mr_volume(order, signs, tilt=(0, 0, 0), vertebrae=5):
    """Return an MR volume of blocks one above the other, on a grid whose i, j, k run along any axes, and its truth."""
    from scipy.spatial.transform import Rotation

    steps = np.array([1.1, 1.4, 3.5])
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", tilt, degrees=True).as_matrix() @ (
        np.eye(3)[:, list(order)] * signs * steps
    )
    size = np.array([42.0, 100.0, 220.0])  # mm to the left, the back and the head
    shape = tuple(int(np.ceil(size[axis] / step)) for axis, step in zip(order, steps, strict=True))[::-1]
    matrix[:3, 3] = -matrix[:3, :3] @ ((np.array(shape)[::-1] - 1) / 2)
    geometry = Geometry(shape, matrix)
    x, y, z = np.moveaxis(geometry.to_world(np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)), -1, 0)
    values, truth = np.full(shape, 0.02, np.float32), []
    for number in range(vertebrae):
        height = z - (80 - 36 * number)
        inside = (abs(height) < 12) & (abs(y) < 20) & (abs(x) < 14)
        values[inside] = np.where(height[inside] > 0, 0.8, 0.6)
        truth.append(inside)
    return Image(values, geometry, "MR"), truth


def test_a_volume_is_segmented_slice_by_slice_from_every_orientation_of_its_grid(through):
    model = by_hand_card("yolo-unet-lumbar-mr-small", size=256)
    grids = [*product(permutations(range(3)), product((-1, 1), repeat=3))]
    for number, (order, signs) in enumerate(grids[::13]):
        image, truth = mr_volume(order, np.array(signs), (8, -6, 5) if number % 2 else (0, 0, 0))
        found = through(image, ByHand(Regions(classes=False)), model=model, top_level="L1")
        assert levels(found) == ["L1", "L2", "L3", "L4", "L5"]
        assert found.segmentation.geometry.same_as(image.geometry)
        for mask, wanted in zip(masks_of(found), truth, strict=True):
            assert dice(mask, wanted) > 0.85, (order, signs)


def test_a_single_sagittal_slice_stored_upside_down_is_read_by_its_place_in_the_patient(through):
    image, truth = mr_volume((1, 2, 0), np.array([-1, 1, 1]))  # rows run to the head
    middle = image.geometry.shape[0] // 2
    one = Image(
        image.array[middle : middle + 1],
        image.geometry.cropped((middle, 0, 0), (middle + 1, *image.geometry.shape[1:])),
        "MR",
    )
    model = by_hand_card("yolo-unet-lumbar-mr-small", size=256)
    found = through(one, ByHand(Regions(classes=False)), model=model, top_level="T12")
    assert levels(found) == ["T12", "L1", "L2", "L3", "L4"]
    assert found.warnings == ()
    assert all(dice(mask[0], wanted[middle]) > 0.9 for mask, wanted in zip(masks_of(found), truth, strict=True))


def test_an_axial_slice_is_refused_in_one_line(through):
    image, _ = mr_volume((0, 2, 1), np.array([1, 1, 1]))
    part = image.geometry.cropped((20, 0, 0), (21, *image.geometry.shape[1:]))
    cut = Image(image.array[20:21] + np.eye(*image.array.shape[1:]), part, "MR")
    with pytest.raises(InputError, match="it is coronal"):
        through(cut, model=by_hand_card("yolo-unet-lumbar-mr-small", size=256))


def test_a_model_of_films_takes_no_volume(through):
    image, _ = mr_volume((0, 1, 2), np.array([1, 1, 1]))
    with pytest.raises(InputError, match="takes a radiograph"):
        through(image)


def test_a_dicom_film_goes_through(through, tmp_path):
    picture, masks = neck()
    image = read_image(save(dicom_film(np.rint(picture * 4000).astype(np.uint16)), tmp_path / "film.dcm"))
    model = by_hand_card()
    model = dataclasses.replace(
        model, input={**model.input, "intensity": {"kind": "percentile", "low": 0, "high": 100}}
    )
    found = through(image, model=model)
    assert levels(found) == LEVELS
    assert all(dice(mask[0], truth) > 0.9 for mask, truth in zip(masks_of(found), masks, strict=True))


def test_the_detectors_own_masks_are_brought_to_the_films_size(through):
    picture, masks = neck()
    image = film(np.kron(picture, np.ones((2, 2), np.float32)), step=(0.15, 0.15))
    model = by_hand_card("yolo11-seg", classes=["C2", None])
    found = through(image, _seg(), model=model)
    assert levels(found) == LEVELS
    for mask, truth in zip(masks_of(found), masks, strict=True):
        assert dice(mask[0], np.kron(truth, np.ones((2, 2), bool))) > 0.9


def _seg():
    class Seg(Regions, torch.nn.Module):
        def __init__(self):
            torch.nn.Module.__init__(self)
            Regions.__init__(self, masks=True)

    return Seg()


@pytest.mark.parametrize("name", ["unet3plus", "deeplabv3plus-bodies"])
def test_a_whole_pictures_mask_falls_into_its_parts(through, name):
    picture, masks = neck(NECK[:5])
    found = through(film(picture), Bright(), model=by_hand_card(name), top_level="C2")
    assert levels(found) == LEVELS[:5]
    assert all(dice(mask[0], truth) > 0.95 for mask, truth in zip(masks_of(found), masks, strict=True))
    nothing = through(film(np.full((100, 80), 0.1) + 0.01 * np.eye(100, 80)), Bright(), model=by_hand_card(name))
    assert nothing.segmentation.segments == ()
    assert said(nothing, "No vertebra was found")


def test_labels_alone_and_labels_on_the_image_are_written_as_pictures(through, tmp_path):
    from PIL import Image as Pillow

    from SpineSegLib.cli.outputs import check_outputs, write_outputs
    from SpineSegLib.progress import silent

    picture, masks = neck()
    image = film(picture)
    found = through(image).segmentation
    files = [tmp_path / "neck.labels.png", tmp_path / "neck.png"]
    check_outputs(files, tmp_path / "film.png")
    write_outputs(image, found, files, silent)
    labels, colours = np.asarray(Pillow.open(files[0])), np.asarray(Pillow.open(files[0]).convert("RGB"))
    assert labels.shape == picture.shape
    for each, truth in zip(found.segments, masks, strict=True):
        inside = found.mask(each)[0]
        assert len(set(labels[inside])) == 1
        assert (colours[inside] == each.colour).all()
        assert dice(inside, truth) > 0.95
    assert not colours[labels == 0].any()
    again = read_segmentation(files[0])
    assert [each.structure.level for each in again.segments] == LEVELS
    assert np.asarray(Pillow.open(files[1])).shape[0] > picture.shape[0]


def test_probabilities_are_kept_where_they_are_asked_for(through):
    picture, _ = neck()
    found = through(film(picture), keep_probability=True)
    for each in found.segmentation.segments:
        assert each.probability.shape == (1, 400, 240)
        mask = found.segmentation.mask(each)
        assert each.probability[mask].min() > 0.5
    assert through(film(picture)).segmentation.segments[0].probability is None


def test_how_sure_the_model_is_can_be_asked_vertebra_by_vertebra(through):
    from SpineSegLib.evaluation.explain.turning import Turn
    from SpineSegLib.evaluation.explain.uncertainty import uncertainty

    through(film(neck()[0]))  # puts the networks made by hand in place
    found = uncertainty(film(neck()[0]), by_hand_card(), device="cpu", turns=[Turn(mirror=True)])
    assert set(found.confidence) == {f"{level} body" for level in LEVELS}
    assert all(value > 0.8 for value in found.confidence.values())
    nothing = uncertainty(film(0.05 * np.eye(60)), by_hand_card(), device="cpu", turns=[Turn(mirror=True)])
    assert nothing.confidence == {}
    assert nothing.entropy.shape == (1, 60, 60)
    assert not nothing.disagreement.any()


def test_progress_rises_to_the_end(through):
    steps = []
    through(film(neck()[0]), report=lambda step, of, what: steps.append(step / of))
    assert steps == sorted(steps)
    assert Structure("body", "C2").name == "C2 body"
