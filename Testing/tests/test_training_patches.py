"""Patches around vertebrae as training sees them, and a segmenter that learns from them behind its detector."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from PIL import Image as Picture

from SpineSegLib.anatomy import Structure
from SpineSegLib.datasets import Case
from SpineSegLib.errors import InputError
from SpineSegLib.image import Geometry, Image, Segmentation
from SpineSegLib.models import card, load_network
from SpineSegLib.models.weights import save_weights
from SpineSegLib.networks import build
from SpineSegLib.resources import resource
from SpineSegLib.training import train
from SpineSegLib.training.recipe import read_recipe
from SpineSegLib.training.sources import PatchSource, targets_of

INPUT = {"size": [64, 64], "channels": 1, "intensity": {"kind": "percentile", "low": 0, "high": 100}}


def film(number, *, levels=("C3", "C4", "C5"), step=(1.0, 1.0)):
    """A case with a column of boxes, each brighter than the last; pixels may be higher than wide."""
    random = np.random.default_rng(number)
    rows = round(160 / step[0])
    array = random.normal(50, 3, (1, rows, 120)).astype(np.float32)
    masks = []
    for place, level in enumerate(levels):
        mask = np.zeros(array.shape, bool)
        first = round((20 + 44 * place) / step[0])
        mask[0, first : first + round(30 / step[0]), 40:80] = True
        array[mask] += 60 + 40 * place
        masks.append((Structure("body", level), mask))
    geometry = Geometry(array.shape, np.diag([-step[1], -step[0], 1, 1]))
    return Case(
        f"film{number}", f"p{number}", lambda: (Image(array, geometry, "XR"), Segmentation.from_masks(masks, geometry))
    )


def source(cases, **settings):
    arguments = {"seed": 3, "size": 64, "samples": 12, **settings}
    made = PatchSource(cases, targets_of([Structure("bodies")]), INPUT, **arguments)
    made.set_epoch(0)
    return made


def test_a_patch_has_its_own_vertebra_in_the_middle_at_the_margins_size():
    made = source([film(n) for n in range(4)], jitter=0.0, margin=0.1)
    for picture, mask in (made[n] for n in range(12)):
        assert picture.shape == mask.shape == (1, 64, 64)
        rows, columns = np.flatnonzero(mask[0].any(dim=1)), np.flatnonzero(mask[0].any(dim=0))
        assert abs(rows[0] + rows[-1] - 63) <= 2 and abs(columns[0] + columns[-1] - 63) <= 2
        assert len(columns) == pytest.approx(64 / 1.2, abs=2)
        assert len(rows) == pytest.approx(64 / 1.2 * 30 / 40, abs=2)
        assert picture[mask > 0].mean() > picture[mask == 0].mean() + 0.3
        assert picture.min() >= 0 and picture.max() <= 1


def test_boxes_move_as_a_detectors_do_and_no_further():
    still, moved = source([film(0)], jitter=0.0), source([film(0)], jitter=0.2, samples=60)
    widths = [int(moved[n][1].any(dim=1).sum()) for n in range(60)]
    usual = int(still[0][1].any(dim=1).sum())
    assert min(widths) < usual < max(widths)
    assert all(usual / 1.4 - 2 <= width <= usual / 0.6 + 2 for width in widths)


def test_pixels_that_are_not_square_are_made_so():
    made = source([film(1, step=(2.0, 1.0))], jitter=0.0)
    _, mask = made[0]
    assert int(mask.any(dim=2).sum()) / int(mask.any(dim=1).sum()) == pytest.approx(30 / 40, abs=0.06)


def test_all_vertebrae_are_shown_where_the_recipe_says_so():
    own, every = source([film(0)], jitter=0.0, margin=0.6), source([film(0)], jitter=0.0, margin=0.6, shows="all")
    assert all((every[n][1] >= own[n][1]).all() for n in range(12))
    assert any(every[n][1].sum() > 1.2 * own[n][1].sum() for n in range(12))


def test_bodies_of_a_binary_mask_are_told_apart():
    def load():
        image, labels = film(0).load()
        return image, Segmentation.from_masks([(Structure("bodies"), labels.foreground)], labels.geometry)

    one, two = source([film(0)], jitter=0.0), source([Case("binary", "p", load)], jitter=0.0)
    for n in range(12):
        assert torch.equal(one[n][1], two[n][1])
        assert torch.equal(one[n][0], two[n][0])


def test_a_sample_depends_on_seed_epoch_and_number_alone():
    steps = [{"name": "rotate", "degrees": 10}, {"name": "gaussian_noise", "sd": 0.05}]
    one, two = (source([film(n) for n in range(4)], augmentation=steps) for _ in range(2))
    for made in (one, two):
        made.set_epoch(5)
    two[7]
    assert all(torch.equal(a, b) for a, b in zip(one[3], two[3], strict=True))
    first = one[3][0]
    one.set_epoch(6)
    assert not torch.equal(first, one[3][0])


def test_turning_brings_no_black_corners_in():
    made = source([film(0)], margin=0.0, jitter=0.0, augmentation=[{"name": "rotate", "degrees": [9, 10]}])
    middle = [n for n in range(12) if made[n][0].min() > 0]
    assert made[0][1].sum() > 0
    assert middle or all((made[n][0] > 0).float().mean() > 0.97 for n in range(12))


def test_a_slice_without_vertebrae_is_passed_over_and_a_set_without_any_refused():
    cases = [film(0, levels=()), film(1)]
    made = source(cases)
    assert all(made[n][1].any() for n in range(12))
    with pytest.raises(ValueError, match="no case has a bod"):
        source(cases[:1]).require_labels()
    with pytest.raises(InputError, match="shows"):
        source(cases, shows="none")


@pytest.mark.parametrize("name", ["yolo-unet", "yolo-unet-cervical-small", "yolo-unet-lumbar-mr-small"])
def test_recipes_cut_patches_as_the_pipeline_does(name):
    recipe, model = read_recipe(f"{name}-segmenter"), card(name)
    assert recipe.part == "segmenter"
    assert recipe.sampling["size"] == model.network["arguments"]["patch"]
    assert recipe.sampling["margin"] == model.pipeline["arguments"].get("margin", 0.125)


def test_the_papers_recipe_says_what_the_paper_says():
    recipe = read_recipe("yolo-unet-segmenter")
    assert recipe.split == {"shares": [0.6, 0.2, 0.2]}
    steps = {step["name"]: step for step in recipe.augmentation}
    assert steps["rotate"]["degrees"] == 10
    assert steps["translate"]["pixels"] == 5
    assert steps["scale"]["factor"] == [0.9, 1.1]
    assert {"flip", "salt_and_pepper"} <= set(steps)
    assert set(recipe.loss) == {"bce_dice"}
    assert read_recipe("unet3plus").loss == recipe.loss


def test_a_segmenter_learns_behind_its_detector_which_stays_as_it_was(tmp_path, monkeypatch):
    for kind in ("images", "masks"):
        (tmp_path / "data" / kind).mkdir(parents=True)
    for number in range(6):
        image, labels = film(number).load()
        Picture.fromarray(image.array[0].clip(0, 255).astype(np.uint8)).save(tmp_path / "data/images" / f"{number}.png")
        Picture.fromarray(255 * labels.foreground[0].astype(np.uint8)).save(tmp_path / "data/masks" / f"{number}.png")
    content = yaml.safe_load(resource("Recipes", "yolo-unet-cervical-small-segmenter.yaml").read_text(encoding="utf-8"))
    content |= {
        "epochs": 2,
        "samples": 8,
        "batch": 4,
        "precision": "float32",
        "data": {"reader": "image-mask-folder", "structures": "bodies"},
    }
    content |= {"split": {"shares": [0.7, 0.3]}, "augmentation": [], "keep": "last", "average": None}
    content["sampling"] = {"size": 32, "margin": 0.3}
    content["validation"] = {"samples": 4}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    model = card("yolo-unet-cervical-small")
    narrow = {"detector": {"width": 0.0625, "classes": 2, "channels": 1}, "patch": 32}
    narrow["segmenter"] = {"name": "unet3plus", "width": 4, "channels": 1}
    model = replace(model, network={"name": "yolo-unet", "arguments": narrow})
    monkeypatch.setattr("SpineSegLib.training.run.find_card", lambda name: model)
    torch.manual_seed(1)
    before = build(model.network["name"], model.network["arguments"])
    save_weights(before, tmp_path / "detector.safetensors")
    out = train(
        tmp_path / "recipe.yaml", tmp_path / "data", tmp_path / "run", weights=tmp_path / "detector.safetensors"
    )
    after = load_network(model, out / "weights.safetensors").state_dict()
    start = load_network(model, tmp_path / "detector.safetensors").state_dict()
    same = {name: torch.equal(value, start[name]) for name, value in after.items()}
    assert all(same[name] for name in same if name.startswith("detector."))
    assert not all(same[name] for name in same if name.startswith("segmenter."))
    rows = (out / "log.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 3
    assert "validation_dice" in rows[0]
