"""Training one part of a network of several, by its own loss and score, on vertebrae one by one."""

import sys
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
import torch
import yaml
from PIL import Image as Picture
from safetensors.torch import load_file
from torch import nn

from SpineSegLib.anatomy import Structure
from SpineSegLib.datasets import Case
from SpineSegLib.errors import Cancelled, InputError
from SpineSegLib.image import Geometry, Image, Segmentation
from SpineSegLib.models import card
from SpineSegLib.networks import NETWORKS
from SpineSegLib.training import run, train
from SpineSegLib.training.fit import read_log
from SpineSegLib.training.sources import InstanceSource, targets_of


class Counter(nn.Module):
    """Tells how many instances a picture has: a part with a loss and a score of its own."""

    score_name = "share counted right"

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 4, 5, stride=4), nn.BatchNorm2d(4), nn.ReLU())
        self.number = nn.Linear(4, 1)

    def forward(self, images):
        return self.number(self.features(images).mean(dim=(2, 3)))[:, 0]

    def training_loss(self, images, targets):
        wanted = torch.tensor([float(len(target["boxes"])) for target in targets])
        return nn.functional.mse_loss(self(images).float(), wanted)

    def validation_score(self, images, targets):
        assert not self.training
        wanted = torch.tensor([len(target["boxes"]) for target in targets])
        return (self(images).round() == wanted).float().mean()


class Pair(nn.Module):
    """A counter, and a convolution that gives logits."""

    stride = 1

    def __init__(self):
        super().__init__()
        self.counter = Counter()
        self.mask = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 1, 1))

    def forward(self, images):
        return self.mask(images) + self.counter(images)[:, None, None, None]


@pytest.fixture
def pair(monkeypatch):
    """Make the small X-ray card one of a `Pair`."""
    module = ModuleType("SpineSegLib.networks.pair")
    module.Pair = Pair
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(NETWORKS, "pair", "pair:Pair")
    model = replace(card("unet-xray-small"), network={"name": "pair", "arguments": {}})
    monkeypatch.setattr(sys.modules[run.__name__], "find_card", lambda name: model if name == "pair" else card(name))
    return model


@pytest.fixture
def folder(tmp_path):
    """Eight films with one to three vertebrae."""
    random = np.random.default_rng(3)
    for kind in ("images", "masks"):
        (tmp_path / "data" / kind).mkdir(parents=True)
    for number in range(8):
        picture, mask = random.normal(60, 8, (48, 40)), np.zeros((48, 40), np.uint8)
        for level in range(number % 3 + 1):
            mask[4 + 14 * level : 14 + 14 * level, 10:28] = level + 1
        picture[mask > 0] += 110
        Picture.fromarray(picture.clip(0, 255).astype(np.uint8)).save(tmp_path / "data" / "images" / f"p{number}.png")
        Picture.fromarray(mask).save(tmp_path / "data" / "masks" / f"p{number}.png")
    return tmp_path / "data"


@pytest.fixture
def recipe(tmp_path):
    """Return a function that writes a recipe for the counter, with changes."""

    def write(name="counter", **changes):
        content = {
            "model": "pair",
            "data": {"reader": "image-mask-folder", "structures": {1: "C3", 2: "C4", 3: "C5"}},
            "source": "instances",
            "part": "counter",
            "seed": 7,
            "epochs": 3,
            "batch": 2,
            "sampling": {"size": 48},
            "augmentation": [{"name": "rotate", "degrees": 5}],
            "validation": {"augmentation": []},
            "optimiser": {"name": "AdamW", "lr": 0.01, "weight_decay": 0.1},
            "training_data": [{"name": "boxes", "licence": "Apache-2.0"}],
            "licence": "Apache-2.0",
        } | changes
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump({k: v for k, v in content.items() if v is not None}), encoding="utf-8")
        return path

    return write


def tensors(out):
    return load_file(str(out / "weights.safetensors"))


MASKS = {"source": "pictures", "part": "mask", "loss": {"bce": 1}}


@pytest.mark.parametrize("changes", [{}, {"average": 0.8, "precision": "bfloat16", "keep": "best"}])
def test_a_part_learns_and_the_others_stay_as_they_were_to_the_bit(pair, folder, recipe, tmp_path, changes):
    first = tensors(train(recipe(**MASKS), folder, tmp_path / "mask"))
    begin = tmp_path / "mask" / "weights.safetensors"
    second = tensors(train(recipe(**changes), folder, tmp_path / "counter", weights=begin))
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]) == (not name.startswith("counter.")), name


def test_the_loss_and_the_score_of_the_part_are_those_of_the_log_and_of_the_card(pair, folder, recipe, tmp_path):
    out = train(recipe(epochs=30, augmentation=[], keep="best"), folder, tmp_path / "run")
    log = read_log(out / "log.csv")
    assert float(log[-1]["train_loss"]) < 0.2 * float(log[0]["train_loss"])
    assert "validation_dice" not in log[0]
    best = max(float(row["validation_score"]) for row in log)
    assert best > float(log[0]["validation_score"])
    assert f"best share counted right {best:.5f}" in (out / "card.json").read_text(encoding="utf-8")
    assert (out / "curves.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    "changes", [{}, {"average": 0.8, "keep": "best", "early_stopping": {"monitor": "dice", "patience": 9}}]
)
def test_a_stopped_part_goes_on_to_the_same_curve_and_weights(pair, folder, recipe, tmp_path, changes):
    whole = train(recipe(**changes), folder, tmp_path / "whole")

    def stop(_step, _of, what):
        if what == "epoch 3":
            raise Cancelled("power cut")

    with pytest.raises(Cancelled):
        train(recipe(**changes), folder, tmp_path / "part", report=stop)
    part = train(recipe(**changes), folder, tmp_path / "part", resume=True)
    assert read_log(part / "log.csv") == read_log(whole / "log.csv")
    for name, value in tensors(whole).items():
        assert torch.equal(value, tensors(part)[name]), name


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"part": "engine"}, "one of counter, mask"),
        ({"loss": {"bce": 1}}, "has its own"),
        ({**MASKS, "loss": None}, "no loss"),
        ({"early_stopping": {"monitor": "luck"}}, "monitor of early_stopping is 'luck'"),
        ({"sampling": {"kinds": ["disc"]}}, "no case has a disc"),
        ({"sampling": {"levels": ["C9"]}}, "lists of structure kinds and of levels"),
    ],
)
def test_a_wrong_part_is_refused_in_one_line(pair, folder, recipe, tmp_path, changes, says):
    with pytest.raises(InputError, match=says) as error:
        train(recipe(**changes), folder, tmp_path / "run")
    assert "\n" not in str(error.value)


GEOMETRY = Geometry((1, 60, 40), np.diag([-1.0, -1.0, 1.0, 1.0]))


def overlapping_case():
    """A film 60 x 40 with C7 and T1 that overlap, the body of C7, and a disc."""

    def box(top, bottom, left, right):
        mask = np.zeros((1, 60, 40), bool)
        mask[0, top:bottom, left:right] = True
        return mask

    masks = {
        Structure("vertebra", "T1"): box(28, 50, 12, 33),
        Structure("vertebra", "C7"): box(10, 31, 8, 30),
        Structure("body", "C7"): box(12, 25, 8, 20),
        Structure("disc", "C7/T1"): box(25, 28, 12, 20),
    }
    image = Image(np.random.default_rng(1).normal(100, 30, (1, 60, 40)), GEOMETRY, "XR")
    return Case("film", "film", lambda: (image, Segmentation.from_masks(masks, GEOMETRY)))


def source(size=120, **settings):
    model = card("unet-xray-small")
    made = InstanceSource(
        [overlapping_case()], targets_of(model.structures), model.input, seed=1, size=size, **settings
    )
    made.set_epoch(0)
    return made


def test_instances_that_overlap_have_whole_masks_and_boxes_at_the_edges_of_their_pixels():
    picture, target = source()[0]
    assert picture.shape == (1, 120, 120)
    assert target["levels"] == ["C7", "T1"], "from head to foot"
    assert target["boxes"].tolist() == [[16, 20, 60, 62], [24, 56, 66, 100]], "twice the film's pixels"
    assert target["masks"].sum(dim=(1, 2)).tolist() == [44 * 42, 42 * 44]
    assert target["labels"].tolist() == [0, 0]
    assert (target["masks"].dtype, target["labels"].dtype) == (torch.uint8, torch.int64)


def test_kinds_levels_and_the_first_label_are_arguments():
    _, bodies = source(kinds=["body"])[0]
    assert bodies["boxes"].tolist() == [[16, 24, 40, 50]]
    _, numbered = source(levels=["T2", "T1"], first=1)[0]
    assert (numbered["levels"], numbered["labels"].tolist()) == (["T1"], [2])
    _, named = source(levels=["T1"], rest=True)[0]
    assert (named["levels"], named["labels"].tolist()) == (["C7", "T1"], [1, 0])


def test_what_is_labelled_as_one_falls_into_its_parts_from_top_to_bottom():
    film = overlapping_case()
    image, labels = film.load()
    apart = labels.mask("C7 body") | np.roll(labels.mask("C7 body"), 20, axis=1)
    one = Segmentation.from_masks({Structure("bodies"): apart}, image.geometry)
    model = card("unet-xray-small")
    case, targets = replace(film, load=lambda: (image, one)), targets_of((Structure("bodies"),))
    made = InstanceSource([case], targets, model.input, seed=1, size=120)
    made.set_epoch(0)
    _, target = made[0]
    assert target["boxes"].tolist() == [[16, 24, 40, 50], [16, 64, 40, 90]]
    assert (target["levels"], target["labels"].tolist()) == ([None, None], [0, 0])


def test_what_is_moved_out_of_the_picture_is_gone_and_a_batch_may_hold_a_picture_without_any():
    steps = [{"name": "translate", "share": 0.8}]
    samples, cut = [], False
    made = source(augmentation=steps, samples=40)
    for index in range(40):
        _, target = sample = made[index]
        samples.append(sample)
        cut |= len(target["boxes"]) < 2
        for box, mask in zip(target["boxes"], target["masks"], strict=True):
            left, top, right, bottom = map(int, box)
            assert 0 <= left < right <= 120
            assert 0 <= top < bottom <= 120
            assert mask[top:bottom, left:right].sum() == mask.sum() > 0
    assert cut
    empty = source(kinds=["sacrum"])[0]
    images, targets = InstanceSource.collate([*samples, empty])
    assert images.shape == (41, 1, 120, 120)
    assert (targets[-1]["boxes"].shape, targets[-1]["masks"].shape) == ((0, 4), (0, 120, 120))
