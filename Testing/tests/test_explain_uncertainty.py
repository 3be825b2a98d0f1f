"""Turning images there and back, entropy, disagreement, confidence and calibration, against analytic cases."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import entropy as scipy_entropy
from standins import FILM_MODEL, random_weights, small_film

from SpineSegLib.anatomy import Structure
from SpineSegLib.cli import main
from SpineSegLib.datasets import Case
from SpineSegLib.errors import InputError, problem
from SpineSegLib.evaluation.explain import uncertainty as module
from SpineSegLib.evaluation.explain.calibration import Reliability, calibrate
from SpineSegLib.evaluation.explain.turning import TURNS, Turn
from SpineSegLib.evaluation.explain.uncertainty import entropy, uncertainty
from SpineSegLib.image import Geometry, Image, Segment, Segmentation
from SpineSegLib.io import read_segmentation, write_image, write_segmentation
from SpineSegLib.models import card
from SpineSegLib.pipelines import Result, segment

VERTEBRAE = Structure("vertebrae")


def test_mirroring_is_undone_to_the_last_bit(oblique):
    values = np.random.default_rng(0).random(oblique.shape, np.float32)
    turn = Turn(mirror=True)
    turned = turn.apply(Image(values, oblique))
    assert not np.array_equal(turned.array, values)
    assert np.array_equal(turn.undo(turned.array, oblique), values)


@pytest.mark.parametrize("turn", [*TURNS, Turn(mirror=True, degrees=12, scale=1.1)])
def test_a_slope_turned_and_undone_is_the_same_slope(turn, oblique):
    wide = replace(oblique, shape=(3, 40, 50))
    k, j, i = np.indices(wide.shape, np.float32)
    slope = 2 * k + 3 * j - 5 * i
    there = turn.apply(Image(slope, wide)).array
    back = turn.undo(there, wide)
    # Linear interpolation is exact on a slope, wherever no border was in reach.
    inner = np.s_[:, 12:-12, 15:-15]
    assert np.abs(back - slope)[inner].max() < 1e-3


def test_a_turn_keeps_lengths_in_millimetres():
    grid = Geometry((1, 60, 80), np.diag([-0.4, -1.6, 1, 1]))
    turned = Turn(degrees=30).grid(grid)
    assert turned.step == pytest.approx(grid.step)
    middle = (np.array(grid.shape) - 1) / 2
    assert turned.to_world(middle) == pytest.approx(grid.to_world(middle))
    assert Turn(scale=2).grid(grid).step[1:] == pytest.approx(grid.step[1:] / 2)


def test_what_a_turn_did_not_show_is_not_a_number():
    grid = Geometry((1, 40, 40), np.eye(4))
    back = Turn(scale=2).undo(np.ones(grid.shape), grid)
    assert np.isnan(back[0, 0, 0]) and back[0, 20, 20] == 1
    assert np.isfinite(back).sum() == pytest.approx(20 * 20, abs=45)


def test_entropy_is_that_of_scipy_and_of_a_coin():
    p = np.array([0.0, 1.0, 0.5, 0.11, 0.93])
    assert entropy(p) == pytest.approx([scipy_entropy([x, 1 - x], base=2) for x in p], abs=1e-6)
    assert entropy(p)[2] == 1


def pretend(monkeypatch, chance):
    """Let a model give the probability that `chance` makes of an image's array."""

    def fake(image, *_, **__):
        probability = chance(image.array.astype(np.float32))
        mask = (probability > 0.5).astype(np.uint8)
        found = Segmentation((mask,), (Segment(VERTEBRAE, 0, 1, probability=probability),), image.geometry)
        return Result(found, 1.0, (), "cpu", "float32")

    monkeypatch.setattr(module, "segment", fake)


def column():
    """An image whose values may pass for probabilities."""
    values = np.zeros((1, 40, 40), np.float32)
    values[0, 10:30, 10:16] = 0.8
    return Image(values, Geometry(values.shape, np.eye(4)), "XR")


def test_a_model_that_never_changes_its_mind_is_as_sure_as_its_probability(monkeypatch):
    pretend(monkeypatch, lambda array: array)
    found = uncertainty(column(), card(FILM_MODEL), turns=[Turn(mirror=True)])
    assert not found.disagreement.any()
    assert found.confidence["vertebrae"] == pytest.approx(0.8)
    assert found.result.segmentation.segments[0].confidence == pytest.approx(0.8)
    assert found.entropy.max() == pytest.approx(scipy_entropy([0.8, 0.2], base=2), abs=1e-6)


def test_a_model_that_looks_at_a_side_alone_disagrees_with_itself(monkeypatch):
    def left(array):
        out = np.zeros_like(array)
        out[..., :20] = 1
        return out

    pretend(monkeypatch, left)
    found = uncertainty(column(), card(FILM_MODEL), turns=[Turn(mirror=True)])
    # Mirrored it finds the other half: 1 and 0 everywhere, whose standard deviation is 0.5, and no pixel in common.
    assert np.allclose(found.disagreement, 0.5)
    assert found.confidence["vertebrae"] == 0
    half = uncertainty(column(), card(FILM_MODEL), turns=[Turn(mirror=True), Turn()])
    assert half.confidence["vertebrae"] == pytest.approx(0.5)
    assert np.allclose(half.disagreement, np.sqrt(2) / 3)


def test_nothing_found_has_no_confidence(monkeypatch):
    pretend(monkeypatch, lambda array: array * 0)
    assert uncertainty(column(), card(FILM_MODEL)).confidence == {"vertebrae": None}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return str(random_weights(FILM_MODEL, tmp_path_factory.mktemp("weights") / "w.safetensors"))


def test_probabilities_are_kept_when_asked_for_and_make_the_mask(weights):
    options = {"weights": weights, "device": "cpu", "precision": "float32"}
    plain = replace(card(FILM_MODEL), pipeline={"name": "whole-image", "arguments": {"threshold": 0.5}})
    (kept,) = (found := segment(small_film(), plain, keep_probability=True, **options).segmentation).segments
    assert np.array_equal(kept.probability > 0.5, found.mask(kept)) and found.foreground.any()
    assert segment(small_film(), plain, **options).segmentation.segments[0].probability is None


def test_segment_tells_and_keeps_its_confidence(weights, tmp_path, capsys):
    write_image(small_film(), tmp_path / "film.nrrd")
    arguments = [
        "segment",
        str(tmp_path / "film.nrrd"),
        "--modality",
        "XR",
        "--model",
        FILM_MODEL,
        "--weights",
        weights,
    ]
    arguments += ["--precision", "float32", "--output", str(tmp_path / "film.seg.nrrd"), "--json"]
    assert main([*arguments, "--confidence"]) == 0
    sure = json.loads(capsys.readouterr().out)["structures"][0]["confidence"]
    assert 0 < sure < 1
    assert read_segmentation(tmp_path / "film.seg.nrrd").segments[0].confidence == pytest.approx(sure, abs=1e-5)
    assert main(arguments) == 0
    assert "confidence" not in json.loads(capsys.readouterr().out)["structures"][0]


def test_a_damaged_confidence_is_no_confidence(tmp_path):
    mask = np.ones((1, 2, 2), bool)
    found = Segmentation.from_masks({VERTEBRAE: mask}, Geometry((1, 2, 2), np.eye(4)))
    write_segmentation(replace(found, segments=(replace(found.segments[0], confidence=0.25),)), tmp_path / "a.seg.nrrd")
    assert read_segmentation(tmp_path / "a.seg.nrrd").segments[0].confidence == 0.25
    for text in (b"1e+9", b"0.-5", b"----"):
        damaged = (tmp_path / "a.seg.nrrd").read_bytes().replace(b"Confidence:0.25", b"Confidence:" + text)
        (tmp_path / "b.seg.nrrd").write_bytes(damaged)
        assert read_segmentation(tmp_path / "b.seg.nrrd").segments[0].confidence is None


def test_a_prompted_model_is_refused():
    with pytest.raises(InputError, match="finds by itself"):
        uncertainty(small_film(), card("sam"))


def test_calibration_errors_of_honest_and_of_boasting_probabilities():
    honest = Reliability()
    honest.add(np.full(1000, 0.3), np.arange(1000) < 300)
    assert honest.ece == pytest.approx(0) and honest.brier == pytest.approx(0.21)
    boasting = Reliability()
    boasting.add(np.full(1000, 0.9), np.arange(1000) < 300)
    assert boasting.ece == pytest.approx(0.6)
    assert Reliability().ece is None and Reliability().brier is None


def test_calibration_error_is_that_of_loops():
    rng = np.random.default_rng(8)
    probability = rng.random(5000)
    truth = rng.random(5000) < probability**2
    probability[:3] = 0, 1, 1 / 3
    found = Reliability(bins=10)
    found.add(probability[:2000], truth[:2000])
    found.add(probability[2000:], truth[2000:])
    expected = 0.0
    for n in range(10):
        inside = [x for x in range(5000) if n / 10 <= probability[x] < (n + 1) / 10 or (n == 9 and probability[x] == 1)]
        expected += len(inside) / 5000 * abs(np.mean(truth[inside]) - np.mean(probability[inside]))
    assert found.ece == pytest.approx(expected, abs=1e-9)
    assert found.brier == pytest.approx(np.mean((probability - truth) ** 2))
    json.dumps(found.to_dict(), allow_nan=False)


def test_cases_are_added_up_and_a_failed_one_is_told(weights, tmp_path):
    film = small_film()
    mask = film.array > 700
    truth = Segmentation.from_masks({Structure("vertebra", "L1"): mask}, film.geometry)

    def broken():
        raise problem("three.png", "it is damaged", "a picture", "Restore it")

    cases = [Case(name, name, lambda: (film, truth)) for name in ("one", "two")] + [Case("three", "three", broken)]
    found = calibrate(cases, card(FILM_MODEL), weights=weights)
    told = found.to_dict()
    assert told["cases"] == ["one", "two"] and "damaged" in told["failed"]["three"]
    everywhere = told["structures"]["vertebrae"]["all"]
    assert everywhere["pixels"] == 2 * film.array.size
    chance = segment(film, card(FILM_MODEL), weights=weights, precision="float32", keep_probability=True)
    chance = chance.segmentation.segments[0].probability
    assert everywhere["brier"] == pytest.approx(np.mean((chance - mask) ** 2, dtype=float), rel=1e-5)
    from SpineSegLib.evaluation.explain.reliability_pictures import save_reliability

    save_reliability(found, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_no_case_with_the_models_structures_is_an_error(weights):
    film = small_film()
    truth = Segmentation.from_masks({Structure("sacrum"): film.array > 700}, film.geometry)
    with pytest.raises(InputError, match="none of vertebrae"):
        calibrate([Case("one", "one", lambda: (film, truth))], card(FILM_MODEL), weights=weights)
