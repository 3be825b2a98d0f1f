"""Training on several data sets at once: films beside projections of CT."""

import numpy as np
import pytest
import torch
import yaml
from dataset_copies import film, write_picture
from reader_copies import COPIES

from SpineSegLib.datasets import read_cases
from SpineSegLib.errors import Cancelled, InputError
from SpineSegLib.models import card
from SpineSegLib.training import train
from SpineSegLib.training.fit import read_log
from SpineSegLib.training.recipe import read_recipe
from SpineSegLib.training.sources import MixedSource
from SpineSegLib.training.sources.pairs import pair_of

PARTS = {"ct": "ct-folder", "films": {"reader": "image-mask-folder", "structures": "vertebrae"}}


class Numbers(torch.utils.data.Dataset):
    """Gives its own number and the sample's; remembers its epoch."""

    def __init__(self, number):
        self.number, self.epoch = number, None

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __getitem__(self, index):
        return self.number, index


def test_shares_of_a_mixture_are_kept():
    source = MixedSource([Numbers(0), Numbers(1), Numbers(2)], [1, 2, 1], seed=3, samples=4000)
    source.set_epoch(0)
    drawn = np.array([source[index] for index in range(len(source))])
    assert np.array_equal(drawn[:, 1], np.arange(4000))
    assert np.bincount(drawn[:, 0]) / 4000 == pytest.approx([0.25, 0.5, 0.25], abs=0.02)


def test_a_mixture_is_drawn_anew_each_epoch_and_the_same_when_repeated():
    source = MixedSource([Numbers(0), Numbers(1)], [1, 1], seed=3, samples=64)
    draws = []
    for epoch in (0, 1, 0):
        source.set_epoch(epoch)
        draws.append([source[index][0] for index in range(64)])
        assert all(part.epoch == epoch for part in source.parts)
    assert draws[0] == draws[2] != draws[1]


@pytest.mark.parametrize("shares", [[1.0], [1.0, 0.0], [1.0, -1.0]])
def test_a_mixture_of_one_or_of_nothing_is_refused(shares):
    with pytest.raises(ValueError, match="positive share"):
        MixedSource([Numbers(number) for number in range(len(shares))], shares, seed=0, samples=4)


@pytest.fixture
def folder(tmp_path):
    """A labelled CT and three films, each in a sub-folder."""
    COPIES["ct-folder"].write(tmp_path / "data" / "ct")
    for number in range(3):
        picture = film(70, 52, seed=number) // 2
        mask = np.zeros((70, 52), np.uint8)
        mask[10 + number : 60 : 12, 20:40] = 255
        write_picture(tmp_path / "data" / "films" / "images" / f"film{number}.png", picture + mask // 3)
        write_picture(tmp_path / "data" / "films" / "masks" / f"film{number}.png", mask)
    return tmp_path / "data"


def test_cases_of_several_sets_carry_the_name_of_their_part(folder):
    cases = read_cases("several", folder, parts=PARTS)
    names = [case.name for case in cases]
    assert [name.partition("-")[0] for name in names].count("ct") == len(read_cases("ct-folder", folder / "ct"))
    assert names[-3:] == ["films-film0", "films-film1", "films-film2"]
    assert all(case.patient.startswith(f"{case.name.partition('-')[0]}-") for case in cases)


@pytest.mark.parametrize("name", ["missing", "../ct", ".."])
def test_a_part_that_is_no_sub_folder_is_refused(folder, name):
    with pytest.raises(InputError, match=r"sub-folder|no such folder"):
        read_cases("several", folder, parts={name: "ct-folder"})


@pytest.fixture
def recipe(tmp_path):
    """A recipe that mixes both parts, in 32 pixels."""
    content = {
        "model": "unet-xray-small",
        "data": {"reader": "several", "parts": PARTS},
        "source": "mixed",
        "foreground": ["vertebra", "vertebrae"],
        "seed": 5,
        "epochs": 2,
        "samples": 4,
        "batch": 2,
        "sampling": {
            "ct": {"source": "films", "share": 1, "size": 32, "step": 3.0, "volumes": 1, "views": 2, "plain": 1.0},
            "films": {"source": "pictures", "share": 1, "size": 32},
        },
        "validation": {"samples": 2, "films": {"augmentation": []}},
        "augmentation": [{"name": "rotate", "degrees": 10}],
        "optimiser": {"name": "Adam", "lr": 0.001},
        "loss": {"bce": 1, "dice": 1},
        "training_data": [{"name": "made", "licence": "Apache-2.0"}],
        "licence": "Apache-2.0",
    }

    def write(**changes):
        path = tmp_path / "mixed.yaml"
        path.write_text(yaml.safe_dump(content | changes), encoding="utf-8")
        return path

    return write


def test_a_stopped_run_on_a_mixture_goes_on_with_the_same_curve(folder, recipe, tmp_path):
    def stop(step, _of, what):
        if step == 1 and what.startswith("epoch 2"):
            raise Cancelled

    path = recipe()
    train(path, folder, tmp_path / "whole", machine={"accelerator": "cpu"})
    with pytest.raises(Cancelled):
        train(path, folder, tmp_path / "stopped", machine={"accelerator": "cpu"}, report=stop)
    train(path, folder, tmp_path / "stopped", machine={"accelerator": "cpu"}, resume=True)
    assert read_log(tmp_path / "stopped" / "log.csv") == read_log(tmp_path / "whole" / "log.csv")


def test_films_of_a_mixture_are_augmented_in_training_and_not_in_validation(folder, recipe):
    read = read_recipe(recipe())
    cases = read_cases("several", folder, parts=PARTS)
    first, second = pair_of(read, card("unet-xray-small"), cases, cases)
    assert first.parts[1].augment is not None
    assert second.parts[1].augment is None
    assert [len(first), len(second)] == [4, 2]


def test_a_part_without_cases_is_named(folder, recipe):
    sampling = yaml.safe_load(recipe().read_text(encoding="utf-8"))["sampling"]
    path = recipe(sampling=sampling | {"necks": {"source": "pictures", "share": 1}})
    cases = read_cases("several", folder, parts=PARTS)
    with pytest.raises(InputError, match="no case of the part necks"):
        pair_of(read_recipe(path), card("unet-xray-small"), cases, cases)
