"""Networks trained alike: which, how, resumed how, and what is said of the papers' ablations."""

from __future__ import annotations

from dataclasses import replace

import alike
import numpy as np
import pytest
import train_alike
from alike import Ablation, Results, read_plan

from SpineSegLib.anatomy import structure_named
from SpineSegLib.datasets import Case
from SpineSegLib.errors import InputError
from SpineSegLib.image import Geometry, Image, Segmentation
from SpineSegLib.models.describe import count

PAPER_1 = "cervspinenet cervspinenet-cnn-basic cervspinenet-cnn-full cervspinenet-vit-basic unet-512 deeplabv3plus sam \
segformer-text"
PAPER_5 = "cvm-unet convnext-unet convnext-unet-resrelu convnext-unet-scsa convnext-unet-vss unet dense-unet \
attention-unet residual-unet unet-plus-plus channel-unet md-unet trans-unet swin-unet unext meta-unet lightm-unet \
vm-unet-v2 condseg"


def test_every_x_ray_network_of_papers_1_and_5_is_trained_narrow_on_one_target():
    plan = read_plan()
    assert set(plan.networks) == set(PAPER_1.split()) | set(PAPER_5.split())
    for name in set(plan.networks.values()):
        card = plan.runs[name].card
        assert [structure.name for structure in card.structures] == ["spinous processes"]
        assert 0.1e6 < count(card)[0] < 2.6e6, name


def test_all_runs_share_all_but_network_and_loss():
    plan = read_plan()
    recipes = [replace(run.recipe, model="", loss={}) for run in plan.runs.values()]
    assert all(recipe == recipes[0] for recipe in recipes)
    losses = [frozenset(run.recipe.loss) for run in plan.runs.values() if "loss" in run.name]
    assert len(losses) == len(set(losses)) == 5


def test_every_step_of_an_ablation_is_between_two_runs():
    plan = read_plan()
    assert all(step.names <= plan.runs.keys() for step in plan.ablations)


def results_with(**cases: list[list[float]]) -> Results:
    runs = {
        name: {"seeds": {str(seed): {"cases": each} for seed, each in enumerate(seeds)}}
        for name, seeds in cases.items()
    }
    return Results({}, runs)


def test_a_gain_that_is_clear_goes_the_papers_way_or_the_other():
    low, high = list(np.linspace(0.5, 0.6, 20)), list(np.linspace(0.55, 0.66, 20))
    results = results_with(a=[low], b=[high])
    assert results.verdict(Ablation(1, "", "a", "b", (0.8, 0.9)))[1] == "same"
    assert results.verdict(Ablation(1, "", "a", "b", (0.8, None)))[1] == "same"
    assert results.verdict(Ablation(1, "", "b", "a", (0.8, 0.9)))[1] == "other"
    gain, verdict = results.verdict(Ablation(1, "", "a", "b", (0.8, 0.8)))
    assert verdict == "other"
    assert gain == pytest.approx(0.055)


def test_a_gain_within_the_noise_is_not_told_apart():
    noise = list(0.5 + 0.1 * (-1.0) ** np.arange(20))
    results = results_with(a=[[0.5] * 20], b=[noise])
    assert results.verdict(Ablation(1, "", "a", "b", (0.8, 0.9)))[1] == "undecided"
    assert results.verdict(Ablation(1, "", "a", "b", (0.8, 0.8)))[1] == "same"


def test_trainings_that_contradict_each_other_decide_nothing():
    results = results_with(a=[[0.5] * 20, [0.5] * 20], b=[[0.7] * 20, [0.49] * 20])
    assert results.verdict(Ablation(1, "", "a", "b", (0.8, 0.9)))[1] == "undecided"


def test_a_step_without_results_has_no_verdict():
    assert results_with(a=[[0.5] * 20]).verdict(Ablation(1, "", "a", "b", (0.8, 0.9))) is None


def case(number: int) -> Case:
    rows, columns = np.mgrid[:96, :80]
    mask = (abs(rows - 30 - 3 * number) < 12) & (abs(columns - 40) < 20)
    array = (mask * 200 + np.random.default_rng(number).integers(0, 40, mask.shape)).astype(np.uint16)[None]
    geometry = Geometry(array.shape, np.diag([-0.2, -0.2, 1.0, 1.0]))
    truth = Segmentation.from_masks({structure_named("C5 spinous process"): mask[None]}, geometry)
    return Case(f"case{number}", f"case{number}", lambda: (Image(array, geometry, "XR"), truth))


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A plan of two steps and a folder of eight cases."""
    plan = read_plan()
    runs = {name: replace(run, recipe=replace(run.recipe, samples=4, batch=2)) for name, run in plan.runs.items()}
    monkeypatch.setattr(train_alike, "read_plan", lambda: replace(plan, runs=runs))
    monkeypatch.setattr(train_alike, "read_cases", lambda *_: [case(number) for number in range(5)])
    monkeypatch.setattr(train_alike, "VALIDATION", 2)
    monkeypatch.setattr(train_alike, "PHANTOMS", 5)
    return ["--data", "d", "--held-out", "h", "--work", str(tmp_path), "--results", str(tmp_path / "alike.json")]


@pytest.mark.parametrize("name", ["unext", "sam"])
def test_a_network_is_trained_measured_and_not_trained_twice(name, small, tmp_path, monkeypatch):
    assert train_alike.main([name, *small]) == 0
    results = alike.read_results(read_plan(), tmp_path / "alike.json")
    scores = results.runs[name]["seeds"]["0"]
    assert len(scores["cases"]) == 5
    assert scores["dice"] == pytest.approx(np.mean(scores["cases"]), abs=1e-4)
    assert results.dice(name).tolist() == scores["cases"]
    monkeypatch.setattr(train_alike, "fit", None)  # would raise
    assert train_alike.main([name, *small]) == 0
    with pytest.raises(TypeError):
        train_alike.main([name, *small, "--seeds", "1"])


def test_held_out_necks_that_are_not_complete_are_refused(small, monkeypatch):
    monkeypatch.setattr(train_alike, "PHANTOMS", 20)
    with pytest.raises(InputError, match="5 cases"):
        train_alike.main(["unext", *small])


def test_results_of_another_recipe_are_refused(tmp_path):
    plan = read_plan()
    alike.write_results(Results({**plan.recipe, "batch": 4}), tmp_path / "alike.json")
    with pytest.raises(InputError, match="another recipe"):
        alike.read_results(plan, tmp_path / "alike.json")
