"""bfloat16 is used on its own only where a trial has shown that it may be."""

import json

import numpy as np
import pytest
import torch

from SpineSegLib.image import Geometry, Image
from SpineSegLib.models import card
from SpineSegLib.pipelines import precision as precision_module
from SpineSegLib.pipelines import run as run_module
from SpineSegLib.pipelines import segment
from SpineSegLib.pipelines.precision import Trial, worst_dice


class Blob(torch.nn.Module):
    """Finds what is bright; a second goes by, in one precision three; in bfloat16 a share may be lost."""

    stride = 16

    def __init__(self, lost=0.0, slow_in=None):
        super().__init__()
        self.lost, self.slow_in, self.precisions, self.clock = lost, slow_in, [], 0.0

    def perf_counter(self):
        return self.clock

    def forward(self, x):
        reduced = torch.is_autocast_enabled("cpu")
        self.precisions.append("bfloat16" if reduced else "float32")
        self.clock += 3 if self.slow_in == self.precisions[-1] else 1
        found = (x[:, :1] > 0.5).float()
        if reduced and self.lost:
            found[..., : int(self.lost * x.shape[-1])] = 0
        return 20 * (found - 0.5)


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """An empty folder of weights, and a file of weights for the network that a test puts in."""
    monkeypatch.setenv("SPINESEG_WEIGHTS", str(tmp_path / "weights"))
    (tmp_path / "w.safetensors").write_bytes(b"weights")

    def put(network):
        monkeypatch.setattr(run_module, "load_network", lambda model, weights=None: network)
        monkeypatch.setattr(run_module, "time", network)
        return network

    return put, tmp_path / "w.safetensors", tmp_path / "weights" / "precision.json"


def film(value=200):
    array = np.zeros((1, 90, 70), np.uint8)
    array[0, 20:70, 10:60], array[0, 0, 0] = value, 255
    return Image(array, Geometry(array.shape, np.diag([-0.2, -0.2, 1, 1])), "XR")


def run(weights, **more):
    return segment(film(), card("cervspinenet"), weights=weights, device="cpu", **more)


def test_the_first_image_is_a_trial_and_later_ones_use_bfloat16(machine):
    put, weights, notes = machine
    network = put(Blob(slow_in="float32"))
    first, second = run(weights), run(weights)
    assert (first.precision, second.precision) == ("float32", "bfloat16")
    assert network.precisions == ["float32", "bfloat16", "bfloat16"]
    (note,) = json.loads(notes.read_text(encoding="utf-8")).values()
    assert note["verdict"] == "bfloat16"
    assert note["dice"] == 1


@pytest.mark.parametrize(
    "network", [Blob(lost=0.2, slow_in="float32"), Blob(slow_in="bfloat16")], ids=["other", "slow"]
)
def test_where_masks_differ_or_nothing_is_gained_float32_stays(machine, network):
    put, weights, _ = machine
    put(network)
    assert [run(weights).precision for _ in range(3)] == ["float32"] * 3
    assert network.precisions == ["float32", "bfloat16", "float32", "float32"]


def test_other_weights_are_tried_anew(machine):
    put, weights, _ = machine
    put(Blob(slow_in="float32"))
    run(weights)
    weights.write_bytes(b"other weights")
    assert run(weights).precision == "float32"
    assert run(weights).precision == "bfloat16"


def test_who_names_a_precision_gets_it_without_a_trial(machine):
    put, weights, notes = machine
    network = put(Blob())
    assert run(weights, precision="float32").precision == "float32"
    assert run(weights, precision="bfloat16").precision == "bfloat16"
    assert network.precisions == ["float32", "bfloat16"]
    assert not notes.exists()


def test_a_small_network_is_never_tried(machine):
    _, weights, _ = machine
    assert Trial.of(card("unet-xray-small"), weights, "cpu") is None


def test_an_image_without_findings_decides_nothing(machine):
    _, weights, notes = machine
    trial = Trial.of(card("cervspinenet"), weights, "cpu")
    trial.conclude(torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8), 1.0, 0.1)
    assert trial.verdict is None
    assert not notes.exists()


def test_notes_that_are_damaged_or_cannot_be_written_do_no_harm(machine, monkeypatch):
    put, weights, notes = machine
    put(Blob(slow_in="float32"))
    notes.parent.mkdir()
    for damaged in ("{", "[]", '{"a": 1}'):
        notes.write_text(damaged, encoding="utf-8")
        assert run(weights).precision == "float32"
        assert run(weights).precision == "bfloat16"
    notes.unlink()

    def full(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(precision_module, "written_whole", full)
    assert [run(weights).precision for _ in range(2)] == ["float32"] * 2


def test_the_worst_class_counts():
    one = torch.zeros(1, 3, 4, 4)
    one[0, 0, :2], one[0, 1, :1] = 1, 1
    two = one.clone()
    two[0, 1, 0, :2] = 0
    assert worst_dice(one, two) == pytest.approx(2 * 2 / (4 + 2))
    assert worst_dice(one[:, 2:], two[:, 2:]) is None
