"""Slabs: what a network that takes volumes learns from."""

import json

import numpy as np
import pytest
import torch
import yaml

from SpineSegLib.anatomy import Structure
from SpineSegLib.datasets import READERS
from SpineSegLib.image import Geometry, Image, Segmentation
from SpineSegLib.models import registry
from SpineSegLib.models.cards import read_card
from SpineSegLib.models.describe import count
from SpineSegLib.models.weights import save_weights
from SpineSegLib.networks import build
from SpineSegLib.resources import resource
from SpineSegLib.training import train
from SpineSegLib.training.fit import Fit, read_log
from SpineSegLib.training.pruning import Plan, prune
from SpineSegLib.training.pruning.measure import example_for, milliseconds_of
from SpineSegLib.training.recipe import read_recipe
from SpineSegLib.training.sources import SOURCES, Scan, SlabSource, targets_of
from SpineSegLib.training.sources.slabs import Pooled, _thick

RECIPES = [
    "triview-linknet152",
    "triview-linknet152-small",
    "linknet-efficientnet-b7-adam",
    "linknet-efficientnet-b7-rmsprop",
    "linknet-efficientnet-b7-adamax",
]


def patient():
    """A trunk of water with a column of bone whose upper end is narrow, towards head, back and left."""
    shape = (40, 40, 50)
    k, j, i = np.meshgrid(*map(np.arange, shape), indexing="ij")
    hu = np.full(shape, -1000, np.int16)
    hu[((j - 20) / 17) ** 2 + ((i - 25) / 22) ** 2 < 1] = 40
    bone = (abs(j - 27) < 4) & (abs(i - 25) < np.where(k > 25, 2, 5)) & (k % 6 < 5)
    hu[bone] = 700
    image = Image(hu, Geometry(shape, np.diag([-3.0, -3.0, 3.0, 1.0])), "CT")
    return Scan(image, Segmentation.from_masks({Structure("vertebra", "L1"): bone}, image.geometry), TARGETS, 3.0)


TARGETS = targets_of((), ["vertebra"])
INPUT = {"channels": 1, "spacing": 3.0, "intensity": {"kind": "window", "low": -500, "high": 1300}}


def source(**settings):
    plain = {"cropped": 0.0, "thick": 0.0, "plain": 1.0, "contrast": (0.0, 0.0)}
    arguments = {"seed": 3, "samples": 6, "volumes": 1, "size": (32, 32, 32), **plain, **settings}
    made = SlabSource([patient()], TARGETS, 3.0, INPUT, **arguments)
    made.set_epoch(0)
    return made


def test_a_slab_and_its_masks_show_the_same_place():
    for slab, masks in (source()[n] for n in range(6)):
        assert slab.shape == masks.shape == (1, 32, 32, 32)
        assert slab.dtype == masks.dtype == torch.float32
        assert slab.min() >= 0 and slab.max() <= 1
        bright, inside = slab[0].numpy() > (370 + 500) / 1800, masks[0].numpy() > 0.5
        assert 2 * (bright & inside).sum() >= 0.9 * (bright.sum() + inside.sum())


def test_the_same_epoch_gives_the_same_slabs_and_another_does_not():
    one, again, other = source(plain=0.0), source(plain=0.0), source(plain=0.0)
    other.set_epoch(1)
    for n in range(3):
        assert torch.equal(one[n][0], again[n][0])
        assert not torch.equal(one[n][0], other[n][0])


def test_axes_run_to_the_head_and_the_back_and_only_left_and_right_are_exchanged():
    upright = source(turn=0.0, scale=(0.0, 0.0), size=(64, 64, 64))
    for n in range(6):
        slab, masks = upright[n]
        column = masks[0].numpy()
        levels = np.flatnonzero(column.any(axis=(1, 2)))
        breadth = [np.ptp(np.flatnonzero(column[k].any(axis=0))) for k in (levels[1], levels[-2])]
        if levels[-1] - levels[0] > 34:
            assert breadth[0] > breadth[1], "the upper end is the narrow one"
        body = np.argwhere(slab[0].numpy() > 0.25)
        if len(body) and column.any():
            assert np.argwhere(column)[:, 1].mean() > body[:, 1].mean() - 1, "the column lies in the back"


def test_a_first_look_is_coarser_and_shows_more():
    near, far = source(), source(look={"spacing": 9.0, "share": 1.0})
    share = [np.mean([float(s[n][1].mean()) for n in range(6)]) for s in (near, far)]
    assert share[1] < share[0] / 4


def test_coarser_copies_hold_means_and_shares():
    scan = patient()
    values = scan.hu.astype(np.int16)
    pooled = Pooled(values, scan.target.astype(np.uint8) * 255, np.argwhere(scan.target[0]), 3.0).coarser(3)
    assert pooled.step == 9.0
    assert pooled.values.shape == (13, 13, 16)
    assert pooled.values[2, 8, 8] == pytest.approx(values[6:9, 24:27, 24:27].mean(), abs=0.51)
    assert pooled.masks[0, 4, 8, 8] == pytest.approx(255 * scan.target[0, 12:15, 24:27, 24:27].mean(), abs=0.51)


def test_thick_slices_average_along_the_spine_alone():
    slab = np.zeros((32, 8, 8), np.float32)
    slab[::2, :, 4] = 1
    seen = _thick(slab, 4)
    assert seen.shape == slab.shape
    np.testing.assert_allclose(seen[:, :, 4], 0.5, atol=1e-6)
    assert not seen[:, :, :4].any() and not seen[:, :, 5:].any()


def test_cropped_slabs_are_empty_around_a_window_and_so_are_their_masks():
    for slab, masks in (source(cropped=1.0)[n] for n in range(6)):
        assert (slab == 0).float().mean() > 0.1
        assert not masks[slab == 0].bool().any() or (masks[slab == 0] < 1).all()


def test_digital_patients_are_ct_of_a_region_or_whole_trunks(monkeypatch):
    made = []
    from SpineSegLib.training.sources import slabs as module

    monkeypatch.setattr(module, "make_case", lambda order, number: made.append(order.kind) or Made())
    monkeypatch.setattr(module, "phantom_scan", lambda *_: made.append("trunk") or patient())

    class Made:
        def __init__(self):
            scan = patient()
            geometry = scan.geometry
            self.image = Image(scan.hu.astype(np.int16), geometry, "CT")
            self.masks = Segmentation.from_masks({Structure("vertebra", "L1"): scan.target[0]}, geometry)

    source(phantoms=1.0, scanned=0.5, volumes=8)
    assert set(made) == {"ct", "trunk"}


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A recipe and the card of a narrow network of volumes; its data is the one patient."""
    content = yaml.safe_load(resource("Recipes", "triview-linknet152-small.yaml").read_text(encoding="utf-8"))
    small = {"epochs": 2, "samples": 2, "batch": 1, "validation": {"samples": 1, "volumes": 1}, "precision": "float32"}
    content |= {**small, "model": str(tmp_path / "tiny.json"), "data": "image"}
    content["sampling"] = {"size": [32, 32, 32], "step": 6.0, "volumes": 1, "plain": 1.0}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    data = json.loads(resource("Models", "triview-linknet152-small.json").read_text(encoding="utf-8"))
    narrow = {"encoder": {"width": 0.25, "depth": 0.3, "expansion": 2}, "features": 4, "depth": 34, "width": 4}
    data["network"]["arguments"] |= narrow
    data |= {"name": "tiny", "weights": {}}
    data["input"] |= {"size": [32, 32, 32]}
    data["network"].pop("counts")
    (tmp_path / "tiny.json").write_text(json.dumps(data), encoding="utf-8")
    scan = patient()

    class One:
        name = patient = "one"
        labelled = None

        @staticmethod
        def load():
            image = Image(scan.hu, scan.geometry, "CT")
            return image, Segmentation.from_masks({Structure("vertebra", "L1"): scan.target[0]}, scan.geometry)

    for module in ("SpineSegLib.training.run", "SpineSegLib.training.pruning.run"):
        monkeypatch.setattr(f"{module}.read_cases", lambda *_args, **_options: [One()])
    return tmp_path / "tiny.yaml", tmp_path / "tiny.json"


def made(path):
    torch.manual_seed(0)
    network = read_card(path).network
    return build(network["name"], network["arguments"])


def test_a_narrow_network_is_trained_on_slabs(tiny, tmp_path):
    out = train(tiny[0], tmp_path, tmp_path / "out")
    rows = read_log(out / "log.csv")
    assert len(rows) == 2
    assert all(np.isfinite(float(row["train_loss"])) for row in rows)
    assert (out / "weights.safetensors").stat().st_size > 10_000


@pytest.mark.slow
def test_a_network_of_volumes_is_pruned(tiny, tmp_path):
    recipe, narrow = tiny
    save_weights(made(narrow), tmp_path / "whole.safetensors")
    plan = Plan(shares=(), multiple=2, epochs=1, repeats=1)
    options = {"recipe": recipe, "weights": tmp_path / "whole.safetensors", "plan": plan}
    before, zeroed, without, tuned = prune(str(narrow), tmp_path, tmp_path / "pruned", **options)
    assert without.score == pytest.approx(zeroed.score, abs=1e-3)
    assert tuned.parameters == without.parameters < 0.6 * before.parameters
    assert without.multiply_adds < 0.75 * before.multiply_adds
    assert count(read_card(tmp_path / "pruned" / "tiny-pruned.json")) == (tuned.parameters, tuned.multiply_adds)


def test_pruning_measures_a_network_of_volumes_on_volumes(tiny):
    network = made(tiny[1])
    example = example_for(network, 1, side=32)
    assert example.shape == (1, 1, 32, 32, 32)
    once, again = milliseconds_of([network, network], example, repeats=1)
    assert min(once, again) > 0


def test_dice_of_volumes_is_counted_over_all_their_voxels():
    class Echo(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1))

        def forward(self, x):
            return x * self.weight

    module = Fit(Echo(), read_recipe("triview-linknet152-small"))
    module.log = lambda *_args, **_options: None
    module.on_validation_epoch_start()
    logits = torch.randn(2, 1, 4, 6, 8, generator=torch.Generator().manual_seed(0))
    masks = torch.rand(2, 1, 4, 6, 8, generator=torch.Generator().manual_seed(1))
    module.validation_step((logits, masks), 0)
    found, there = logits > 0, masks > 0.5
    assert module.counts.flatten().tolist() == [float((found & there).sum()), float(found.sum()), float(there.sum())]


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_names_a_card_a_reader_and_a_source_that_there_are(name):
    recipe = read_recipe(name)
    assert recipe.model in registry()
    assert recipe.reader[0] in READERS
    assert recipe.source in SOURCES
    assert hasattr(torch.optim, recipe.optimiser["name"])
    size = recipe.sampling["size"]
    assert all(side % 32 == 0 for side in (size if isinstance(size, list) else [size]))


def test_the_papers_settings_stand_in_its_recipe():
    recipe = read_recipe("triview-linknet152")
    assert (recipe.epochs, recipe.optimiser["lr"]) == (100, 0.001)
    assert recipe.schedule == {"name": "plateau", "factor": 0.1, "patience": 10}
    assert recipe.split["shares"] == [0.8, 0.2]
    assert {read_recipe(f"linknet-efficientnet-b7-{n}").optimiser["name"] for n in ("adam", "rmsprop", "adamax")} == {
        "Adam",
        "RMSprop",
        "Adamax",
    }
