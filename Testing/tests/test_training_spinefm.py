"""Training of SpineFM's parts: what its sources draw, parts one after another, stopped and resumed."""

from itertools import pairwise

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from spinefm_tiny import LEVELS, READER, column, tiny_card, write_films

from SpineSegLib.anatomy import Structure
from SpineSegLib.datasets import Case
from SpineSegLib.errors import Cancelled, InputError
from SpineSegLib.image import Geometry, Image, Segmentation
from SpineSegLib.models import card
from SpineSegLib.resources import resource
from SpineSegLib.training import run, train
from SpineSegLib.training.fit import read_log
from SpineSegLib.training.recipe import read_recipe
from SpineSegLib.training.sources import SOURCES, ClassifiedSource, PromptedSource, TripleSource, targets_of

PARTS = ("detector", "segmenter", "classifier", "predictor")
INPUT = {"size": [96, 96], "channels": 1, "intensity": {"kind": "percentile", "low": 0, "high": 100}}
TARGETS = targets_of([Structure("bodies")])
CLASSES = ("C2", "S1", "between", "background")


def case(number=0, keep=LEVELS, cut=96):
    """Return a film of the column whose last rows are missing."""
    picture, labels = (each[:cut] for each in column(np.random.default_rng(number)))

    def load():
        geometry = Geometry((1, *picture.shape), np.diag([-0.5, -0.5, 1, 1]))
        masks = {
            Structure("body", level): (labels == place)[None]
            for place, level in enumerate(LEVELS, start=1)
            if level in keep
        }
        return Image(picture[None], geometry, "XR"), Segmentation.from_masks(masks, geometry)

    return Case(f"film-{number}", f"patient-{number}", load)


def source(kind, cases=None, **settings):
    made = kind(cases or [case(0), case(1)], TARGETS, INPUT, seed=5, **settings)
    made.set_epoch(0)
    return made


def test_every_body_comes_once_an_epoch_each_time_with_another_point():
    drawn = source(PromptedSource, size=32, side={"steps": 3}, samples=10)
    first = [drawn[index] for index in range(10)]
    film = drawn.film(0)
    assert [body.level for body in film.bodies] == list(LEVELS)
    # The patch is a piece of the film, so the brightest bodies, C2, are seen twice: once in each film.
    tall = [patch[0][mask[0] > 0].mean() > 0.72 for patch, mask in first]
    assert sum(tall) == 2
    drawn.set_epoch(1)
    again = [drawn[index] for index in range(10)]
    # A body has some 170 pixels, so that two draws of one may meet.
    assert sum(torch.equal(one[0], two[0]) for one in first for two in again) <= 2
    repeated = source(PromptedSource, size=32, side={"steps": 3}, samples=10)
    assert all(torch.equal(one[0], repeated[index][0]) for index, one in enumerate(first))


def test_the_point_in_the_middle_of_a_patch_lies_in_its_mask():
    drawn = source(PromptedSource, size=64, side={"steps": 3}, samples=40)
    for index in range(40):
        patch, mask = drawn[index]
        assert patch.shape == mask.shape == (1, 64, 64)
        assert mask[0, 31:33, 31:33].any()
        assert 0 < mask.mean() < 0.3
        assert patch[mask > 0].mean() > patch[mask == 0].mean() + 0.1


def test_a_patch_is_as_wide_as_the_card_says_in_steps_or_pixels():
    film = source(PromptedSource, size=64, side={"steps": 3}).film(0)
    body = film.bodies[2]
    step = np.mean([np.linalg.norm(body.centroid - film.bodies[n].centroid) for n in (1, 3)])
    assert body.step == pytest.approx(step)
    area = body.mask.sum()
    for side, wide in (({"steps": 3}, 3 * step), ({"pixels": 60}, 60)):
        drawn = source(PromptedSource, [case(0, keep=("C4",))], size=64, side=side)
        drawn.kept[0] = film.__class__(film.picture, film.used, (body,), ())
        _, mask = drawn[0]
        assert float(mask.sum()) == pytest.approx(area * (64 / wide) ** 2, rel=0.15)
    with pytest.raises(ValueError, match="steps"):
        source(PromptedSource, size=64, side={"mm": 40})


def test_steps_that_would_move_the_prompt_are_refused():
    with pytest.raises(InputError, match="translate"):
        source(PromptedSource, size=64, side={"steps": 3}, augmentation=[{"name": "translate", "pixels": 4}])


def test_classes_are_drawn_alike_and_show_what_they_say():
    drawn = source(ClassifiedSource, classes=CLASSES, size=32, side={"steps": 1.2}, samples=150, jitter=0.05)
    seen = {name: [] for name in CLASSES}
    for index in range(150):
        patch, number = drawn[index]
        seen[CLASSES[int(number)]].append(float(patch[0, 12:20, 12:20].mean()))
    assert seen["S1"] == []
    assert min(len(seen[name]) for name in ("C2", "between", "background")) > 30
    assert np.min(seen["C2"]) > np.max(seen["between"]) > np.min(seen["between"]) > np.max(seen["background"])


def test_what_the_edge_cut_off_is_neither_a_vertebra_nor_background():
    # C6 begins in row 73: three of its twelve rows are left.
    drawn = source(ClassifiedSource, [case(0, cut=76)], classes=CLASSES, size=32, side={"steps": 1.2}, samples=200)
    film = drawn.film(0)
    assert [body.level for body in film.bodies] == list(LEVELS[:4])
    assert [body.level for body in film.remains] == ["C6"]
    left = film.remains[0]
    rng = np.random.default_rng(0)
    for _ in range(200):
        point, _ = drawn._background(film, rng)
        column_, row = np.rint(point).astype(int) - [left.columns.start, left.rows.start]
        assert not (0 <= row < left.mask.shape[0] and 0 <= column_ < left.mask.shape[1])


def test_triples_are_successive_go_both_ways_and_stop_at_gaps():
    drawn = source(TripleSource, [case(0)], samples=60)
    centroids = np.array([body.centroid for body in drawn.film(0).bodies])
    down = 0
    for index in range(60):
        three, following = drawn[index]
        four = np.vstack([three, following[None]])
        rows = np.searchsorted(centroids[:, 1] - 1, four[:, 1]) - 1
        assert set(np.diff(rows)) in ({1}, {-1})
        down += rows[1] > rows[0]
        columns = centroids[rows, 0]
        mirrored = np.allclose(four[:, 0], 95 - columns, atol=0.01)
        assert mirrored or np.allclose(four[:, 0], columns, atol=0.01)
    assert 15 < down < 45
    with pytest.raises(ValueError, match="samples can be drawn"):
        source(TripleSource, [case(0, keep=("C2", "C3", "C5", "C6"))]).require_labels()


def test_jitter_moves_the_three_and_not_the_next():
    plain, shaken = (source(TripleSource, [case(0)], samples=20, jitter=jitter) for jitter in (0.0, 0.1))
    away = []
    for index in range(20):
        (one, next_one), (two, next_two) = plain[index], shaken[index]
        assert torch.equal(next_one, next_two)
        away.append(float((one - two).norm(dim=1).mean()) / float((one[1] - one[0]).norm()))
    assert 0.05 < np.mean(away) < 0.25


@pytest.fixture
def folder(tmp_path):
    return write_films(tmp_path / "data", 6)


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """Return a function that writes the small model's recipe of a part, made short and tiny."""
    import sys

    monkeypatch.setattr(
        sys.modules[run.__name__], "find_card", lambda name: tiny_card() if name == "spinefm-cervical-small" else None
    )

    def write(part, **changes):
        text = resource("Recipes", f"spinefm-cervical-small-{part}.yaml").read_text(encoding="utf-8")
        content = yaml.safe_load(text)
        small = {"detector": {}, "segmenter": {"size": 64}, "classifier": {"size": 32}, "predictor": {}}[part]
        content |= {"data": READER, "epochs": 2, "batch": 2, "samples": 4, "split": {"shares": [0.5, 0.25, 0.25]}}
        content["sampling"] |= small
        content["validation"] = {**content["validation"], "samples": 2}
        content |= changes
        path = tmp_path / f"{part}.yaml"
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        return path

    return write


def test_parts_are_trained_one_after_another_and_leave_the_others_alone(folder, recipe, tmp_path):
    weights = None
    for part in PARTS:
        out = train(recipe(part), folder, tmp_path / part, weights=weights)
        log = read_log(out / "log.csv")
        assert len(log) == 2
        assert ("validation_dice" in log[0]) == (part == "segmenter")
        after = load_file(out / "weights.safetensors")
        if weights is not None:
            before = load_file(weights)
            changed = {name.split(".")[0] for name, value in after.items() if not torch.equal(value, before[name])}
            assert changed == {part}
        weights = out / "weights.safetensors"


def test_a_killed_run_of_the_detector_ends_as_an_undisturbed_one(folder, recipe, tmp_path):
    whole = train(recipe("detector", precision="float32"), folder, tmp_path / "whole")

    def stop(_step, _of, what):
        if what == "epoch 2":
            raise Cancelled("power cut")

    with pytest.raises(Cancelled):
        train(recipe("detector", precision="float32"), folder, tmp_path / "cut", report=stop)
    train(recipe("detector", precision="float32"), folder, tmp_path / "cut", resume=True)
    one, two = (load_file(each / "weights.safetensors") for each in (whole, tmp_path / "cut"))
    assert all(torch.equal(value, two[name]) for name, value in one.items())


@pytest.mark.parametrize("model", ["spinefm", "spinefm-cervical-small"])
def test_recipes_cut_patches_as_the_card_s_pipeline_does(model):
    arguments, pipeline = card(model).network["arguments"], card(model).pipeline["arguments"]
    sizes = {"segmenter": 1024, "classifier": 224} | {
        part: arguments[part]["size"] for part in ("segmenter", "classifier") if part in arguments
    }
    for part in PARTS:
        recipe = read_recipe(f"{model}-{part}")
        assert (recipe.model, recipe.part) == (model, part)
        assert recipe.source in SOURCES
        if part in sizes:
            assert recipe.sampling["side"] == pipeline[f"{part}_patch"]
            assert recipe.sampling["size"] == sizes[part]
    assert tuple(read_recipe(f"{model}-classifier").sampling["classes"]) == CLASSES


def test_the_papers_numbers_stand_in_the_recipes():
    recipes = {part: read_recipe(f"spinefm-{part}") for part in PARTS}
    detector = recipes["detector"]
    assert detector.optimiser == {"name": "SGD", "lr": 0.005, "momentum": 0.9, "weight_decay": 0.0005}
    assert (detector.epochs, detector.batch, detector.schedule) == (10, 4, {"name": "step", "every": 3, "factor": 0.1})
    assert recipes["segmenter"].loss == {"bce": 1}
    assert recipes["segmenter"].optimiser == {"name": "Adam", "lr": 0.0001}
    assert (recipes["classifier"].epochs, recipes["classifier"].batch) == (15, 32)
    for part in ("classifier", "predictor"):
        assert recipes[part].optimiser == {"name": "Adam", "lr": 0.001}
    for one, two in pairwise(PARTS):
        assert (
            recipes[one].split == recipes[two].split == {"shares": {"training": 0.7, "validation": 0.15, "test": 0.15}}
        )
