"""Splits of data sets: by patient, the same everywhere, and no leak goes unnoticed."""

from __future__ import annotations

import json
import random

import pytest

from SpineSegLib.datasets.cases import Case
from SpineSegLib.datasets.splits import Split, read_split, split_cases, write_split
from SpineSegLib.errors import InputError


def _never_read():
    pytest.fail("listing and splitting read no pixel")


def _cases(patients: int, images=lambda n: 1) -> list[Case]:
    return [Case(f"p{n:03d}-{k}", f"patient {n}", _never_read) for n in range(patients) for k in range(images(n))]


def _patients(cases: list[Case], names) -> set[str]:
    by_name = {case.name: case.patient for case in cases}
    return {by_name[name] for name in names}


@pytest.mark.parametrize(
    ("how", "sizes"),
    [
        ({"shares": [0.8, 0.2]}, (400, 0, 100)),
        ({"shares": [0.6, 0.2, 0.2]}, (300, 100, 100)),
        ({"shares": [0.7, 0.15, 0.15]}, (350, 75, 75)),
        ({"shares": {"training": 0.7, "test": 0.1, "validation": 0.2}}, (350, 100, 50)),
        ({"shares": [0.8, 0.2], "validation": 0.1}, (360, 40, 100)),
        ({"shares": [1.0, 0.0]}, (500, 0, 0)),
    ],
)
def test_shares_of_single_images_are_exact(how, sizes):
    split = split_cases(_cases(500), how, seed=3)
    assert (len(split.training), len(split.validation), len(split.test)) == sizes
    assert len({*split.training, *split.validation, *split.test}) == 500


@pytest.mark.parametrize("how", [{"shares": [0.6, 0.2, 0.2]}, {"folds": 4, "validation": 0.2}])
def test_a_patient_stays_in_one_part_and_shares_are_nearly_kept(how):
    cases = _cases(60, images=lambda n: 1 + n % 5)
    split = split_cases(cases, how, seed=1, fold=2 if "folds" in how else None)
    parts = [_patients(cases, names) for names in (split.training, split.validation, split.test)]
    assert all(parts)
    assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])
    assert len({*split.training, *split.validation, *split.test}) == len(cases)
    wanted = len(cases) * (0.2 if "shares" in how else 0.25)
    assert abs(len(split.test) - wanted) <= 5


def test_the_split_is_independent_of_the_listing_order_and_follows_the_seed():
    cases = _cases(40, images=lambda n: 1 + n % 3)
    shuffled = list(cases)
    random.Random(0).shuffle(shuffled)
    how = {"shares": [0.6, 0.2, 0.2]}
    assert split_cases(cases, how, seed=5) == split_cases(shuffled, how, seed=5)
    assert split_cases(cases, how, seed=5) != split_cases(cases, how, seed=6)


def test_the_split_of_a_seed_never_changes():
    # Written down: papers and cards quote a seed, so another order would be another experiment.
    split = split_cases(_cases(6), {"shares": [0.5, 0.5]}, seed=0)
    assert split == Split(training=("p000-0", "p003-0", "p005-0"), test=("p001-0", "p002-0", "p004-0"))


def test_every_case_is_tested_in_exactly_one_fold():
    cases = _cases(23, images=lambda n: 1 + n % 2)
    splits = [split_cases(cases, {"folds": 5}, seed=9, fold=fold) for fold in range(5)]
    tested = [name for split in splits for name in split.test]
    assert sorted(tested) == sorted(case.name for case in cases)
    for split in splits:
        assert sorted((*split.training, *split.test)) == sorted(tested)
        assert not _patients(cases, split.training) & _patients(cases, split.test)


def test_few_patients_leave_no_part_empty():
    split = split_cases(_cases(3), {"shares": [0.8, 0.1, 0.1]}, seed=0)
    assert [len(part) for part in (split.training, split.validation, split.test)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("how", "fold"),
    [
        ({}, None),
        ({"shares": [0.5, 0.2]}, None),
        ({"shares": [0.5]}, None),
        ({"shares": [1.2, -0.2]}, None),
        ({"shares": "0.8"}, None),
        ({"shares": {"train": 1.0}}, None),
        ({"shares": [0.6, 0.2, 0.2], "validation": 0.1}, None),
        ({"shares": [0.8, 0.2], "validation": 1.0}, None),
        ({"shares": [0.8, 0.2], "folds": 5}, 0),
        ({"shares": [0.8, 0.2]}, 0),
        ({"shares": [0.8, 0.2], "by": "image"}, None),
        ({"folds": 5}, None),
        ({"folds": 5}, 5),
        ({"folds": 1}, 0),
        ({"folds": 2.5}, 0),
    ],
)
def test_a_way_of_splitting_that_makes_no_sense_is_one_line(how, fold):
    with pytest.raises(InputError, match=r"^split: .*expected"):
        split_cases(_cases(20), how, seed=0, fold=fold)


def test_fewer_patients_than_parts_is_an_error():
    cases = _cases(2, images=lambda n: 10)
    with pytest.raises(InputError, match="2 patients for training and validation and test"):
        split_cases(cases, {"shares": [0.6, 0.2, 0.2]}, seed=0)


def test_two_cases_of_one_name_are_an_error():
    with pytest.raises(InputError, match="two cases named 'p000-0'"):
        split_cases([*_cases(3), *_cases(1)], {"shares": [0.8, 0.2]}, seed=0)


def test_a_split_file_gives_the_split_back(tmp_path):
    cases = _cases(20, images=lambda n: 2)
    split = split_cases(cases, {"shares": [0.6, 0.2, 0.2]}, seed=2)
    write_split(split, tmp_path / "split.json")
    assert read_split(tmp_path / "split.json", cases) == split
    assert split_cases(cases, {"file": str(tmp_path / "split.json")}, seed=99) == split
    assert "patient" not in (tmp_path / "split.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ({"training": ["p000-0"], "test": ["p000-1"]}, "the patient of 'p000-1' is in training and in test"),
        ({"training": ["p000-0", "p000-0"]}, "stands in training and in training"),
        ({"training": ["p000-0"], "validation": ["p000-0"]}, "stands in training and in validation"),
        ({"training": ["p999-0"]}, "training names 'p999-0'"),
        ({"train": ["p000-0"]}, "no split"),
        ({"training": "p000-0"}, "no split"),
        ({"training": [1]}, "no split"),
        ({"training": []}, "no split"),
        (["p000-0"], "no split"),
    ],
)
def test_a_leak_or_a_wrong_split_file_is_one_line(tmp_path, content, complaint):
    path = tmp_path / "split.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InputError, match=complaint) as error:
        read_split(path, _cases(2, images=lambda n: 2))
    assert str(path) in str(error.value)
    assert "patient 0" not in str(error.value)


def test_a_damaged_or_missing_split_file_is_one_line(tmp_path):
    (tmp_path / "bad.json").write_text("{", encoding="utf-8")
    for name in ("bad.json", "none.json"):
        with pytest.raises(InputError, match=name):
            split_cases(_cases(3), {"file": str(tmp_path / name)}, seed=0)
