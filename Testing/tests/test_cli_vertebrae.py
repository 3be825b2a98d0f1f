"""``segment --vertebrae`` end to end: a digital patient's CT from a file, a network's answer that is the truth."""

import csv
import json

import numpy as np
import pytest
import torch
from dicom_writing import write_series
from standins import CT_MODEL

from SpineSegLib.anatomy import Structure
from SpineSegLib.cli import main
from SpineSegLib.image import Image, Segmentation
from SpineSegLib.io import read_image, read_segmentation, write_image
from SpineSegLib.phantom.cases import Order, make_case
from SpineSegLib.pipelines import run as run_module


@pytest.fixture(scope="module")
def patient():
    """A CT turned by 6 degrees about each axis, its voxels far from cubes; and the vertebrae of its truth."""
    body = {"region": ("T11", "L1"), "cells": (1.4, 1.2, 1.2), "width": (100.0, 120.0)}
    case = make_case(Order("ct", seed=5101, size=80, rotation=6, slice_step=2.4, noise=False, body=body), 1)
    assert len(set(np.round(case.image.geometry.step, 1))) > 1
    return case.image, case.masks


@pytest.fixture
def answer(monkeypatch, patient):
    """The pipeline's answer is the true spine as one, on whatever grid the file was read to."""
    _, masks = patient

    def finds(given, card, run, **card_arguments):
        here = masks.resampled(given.geometry)
        spine = [here.mask(s) for s in here.segments if s.structure.kind == "vertebra"]
        return Segmentation.from_masks({Structure("spine"): np.logical_or.reduce(spine)}, given.geometry)

    monkeypatch.setattr(run_module, "_pipelines", lambda: {"slicewise": finds})
    monkeypatch.setattr(run_module, "load_network", lambda *_: torch.nn.Identity())


def as_dicom(image: Image, folder):
    write_series(folder, image.geometry, (image.array.astype(np.int32) + 1024).astype(np.uint16))
    return folder


def as_nifti(image: Image, folder):
    folder.mkdir()
    write_image(image, folder / "ct.nii.gz")
    return folder / "ct.nii.gz"


@pytest.mark.parametrize("written", [as_nifti, as_dicom])
def test_each_vertebra_has_its_level_code_and_colour_and_lies_where_it_is(written, patient, answer, tmp_path, capsys):
    image, masks = patient
    path = written(image, tmp_path / "in")
    truth = [s for s in masks.segments if s.structure.kind == "vertebra"]
    output, table = tmp_path / "ct.seg.nrrd", tmp_path / "ct.csv"
    how = ["--vertebrae", "--top-level", truth[0].structure.level, "--modality", "CT", "--json", "--csv", str(table)]
    assert main(["segment", str(path), "--model", CT_MODEL, "--output", str(output), *how]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    found = read_segmentation(output)
    assert found.geometry.same_as(read_image(path, modality="CT").geometry)
    assert [s.structure for s in found.segments] == [s.structure for s in truth]
    assert [s.structure.code for s in found.segments] == [s.structure.code for s in truth]
    assert [s.colour for s in found.segments] == [s.structure.colour for s in truth]
    there = masks.resampled(found.geometry)
    for ours, theirs in zip(found.segments, truth, strict=True):
        a, b = found.mask(ours), there.mask(theirs)
        # Of a tip that the edge leaves, a voxel more or less is much.
        assert 2 * (a & b).sum() / (a.sum() + b.sum()) > (0.75 if theirs is truth[0] else 0.9), ours.name
    # Where the edge leaves a tip, the name says that it is not to be trusted.
    sizes = {s.name: masks.mask(s).sum() for s in truth}
    unsure = {name for name, size in sizes.items() if size < 0.25 * np.median([*sizes.values()])}
    assert truth[0].name in unsure
    names = [f"{s.name} (doubtful)" if s.name in unsure else s.name for s in truth]
    assert [s.name for s in found.segments] == names
    assert [row["name"] for row in result["structures"]] == names
    assert [row["level"] for row in result["structures"]] == [s.structure.level for s in truth]
    with table.open(encoding="utf-8", newline="") as file:
        assert set(names) <= {cell for row in csv.reader(file) for cell in row}
    assert {w.split()[0] for w in result["warnings"] if "is doubtful" in w} == unsure


def test_a_tip_at_the_upper_edge_is_said_to_be_where_counting_begins(patient, answer, tmp_path, capsys):
    path = as_nifti(patient[0], tmp_path / "in")
    arguments = ["segment", str(path), "--model", CT_MODEL, "--output", str(tmp_path / "ct.seg.nrrd")]
    assert main([*arguments, "--modality", "CT", "--vertebrae", "--top-level", "T10", "--json"]) == 0
    warnings = json.loads(capsys.readouterr().out.splitlines()[-1])["warnings"]
    assert any("cuts it off" in line and line.startswith("T10") for line in warnings)
    assert any(line.startswith("Counting begins with one") and "--top-level T9" in line for line in warnings)
