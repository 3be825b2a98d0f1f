"""``segment --threshold`` and ``--probability``: the two belong together, and neither is written half."""

import numpy as np
import pytest
from standins import FILM_MODEL, left_in, random_weights, small_film

from SpineSegLib.cli import main
from SpineSegLib.io import read_image, read_segmentation, write_image


@pytest.fixture
def arguments(tmp_path) -> list[str]:
    write_image(small_film(), tmp_path / "film.nrrd")
    weights = random_weights(FILM_MODEL, tmp_path / "seeded.safetensors")
    (tmp_path / "results").mkdir()
    common = ["segment", str(tmp_path / "film.nrrd"), "--model", FILM_MODEL, "--weights", str(weights)]
    return [*common, "--modality", "XR", "--device", "cpu", "--output", str(tmp_path / "results" / "film.seg.nrrd")]


def test_the_mask_is_where_the_probability_is_above_the_threshold(arguments, tmp_path):
    results, counts = tmp_path / "results", []
    for threshold in (0.4, 0.6):
        file = results / "probability.nrrd"
        assert main([*arguments, "--threshold", str(threshold), "--probability", str(file)]) == 0
        probability, found = read_image(file), read_segmentation(results / "film.seg.nrrd")
        assert probability.geometry.same_as(found.geometry)
        assert probability.array.dtype == np.float32
        assert 0 <= probability.array.min() < probability.array.max() <= 1
        # Small parts are left out of the mask, so it lies within.
        assert not (found.foreground & (probability.array <= threshold)).any()
        counts.append(int(found.foreground.sum()))
    assert counts[0] > counts[1]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--threshold", "1.5"], "--threshold: 1.5"),
        (["--probability", "map.png"], "unknown kind"),
        (["--probability", "nowhere/map.nrrd"], "no such folder"),
        (["--confidence", "--threshold", "0.4"], "--threshold together with --confidence"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(arguments, tmp_path, capsys, monkeypatch, more, said):
    monkeypatch.chdir(tmp_path)
    assert main([*arguments, *more]) == 1
    assert said in capsys.readouterr().err
    assert left_in(tmp_path / "results") == []
