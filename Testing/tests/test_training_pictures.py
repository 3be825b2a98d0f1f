"""Training on folders of pictures: splits, several outputs, averaged and best weights, stopping, killing, processes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image as Picture

from SpineSegLib.cli import main
from SpineSegLib.errors import Cancelled, InputError
from SpineSegLib.models import card, load_network
from SpineSegLib.training import train
from SpineSegLib.training.fit import read_log
from SpineSegLib.training.sources import PictureSource, targets_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path):
    """Twelve films, two of each patient, with a column of bright boxes, and their masks."""
    random = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (tmp_path / "data" / kind).mkdir(parents=True)
    for number in range(12):
        picture = random.normal(60, 8, (70, 52))
        mask = np.zeros((70, 52), np.uint8)
        column = random.integers(8, 30)
        for row in range(6, 60, 12):
            mask[row : row + 8, column : column + 14] = 255
        picture[mask > 0] += 110
        name = f"p{number // 2}-{number % 2}.png"
        Picture.fromarray(picture.clip(0, 255).astype(np.uint8)).save(tmp_path / "data" / "images" / name)
        Picture.fromarray(mask).save(tmp_path / "data" / "masks" / name)
    return tmp_path / "data"


READER = {"reader": "image-mask-folder", "patient": r"(p\d+)-\d", "structures": "vertebrae"}


@pytest.fixture
def recipe(tmp_path):
    """Return a function that writes a recipe for the films, with changes."""

    def write(name="films", **changes):
        content = {
            "model": "unet-xray-small",
            "data": READER,
            "source": "pictures",
            "seed": 7,
            "split": {"shares": [0.5, 0.25, 0.25]},
            "epochs": 3,
            "batch": 2,
            "sampling": {"size": 64, "raw": True},
            "augmentation": [{"name": "rotate", "degrees": 10}, {"name": "gaussian_noise", "sd": 0.05}],
            "validation": {"augmentation": []},
            "optimiser": {"name": "AdamW", "lr": 0.003},
            "loss": {"bce": 1, "dice": 1},
            "training_data": [{"name": "boxes", "licence": "Apache-2.0"}],
            "licence": "Apache-2.0",
        } | changes
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump({k: v for k, v in content.items() if v is not None}), encoding="utf-8")
        return path

    return write


def same_weights(one, two):
    ours, theirs = (
        torch.nn.Module.state_dict(load_network(card("unet-xray-small"), run / "weights.safetensors"))
        for run in (one, two)
    )
    return all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_patients_are_split_the_split_is_written_and_the_card_says_who_validated(folder, recipe, tmp_path):
    out = train(recipe(), folder, tmp_path / "run")
    split = json.loads((out / "split.json").read_text(encoding="utf-8"))
    patients = [{name.split("-")[0] for name in split[part]} for part in ("training", "validation", "test")]
    assert all(patients)
    assert sum(map(len, patients)) == 6 == len(set.union(*patients))
    facts = json.loads((out / "card.json").read_text(encoding="utf-8"))
    assert "validation part" in facts["weights"]["training"]["validation"]
    assert len(read_log(out / "log.csv")) == 3


def test_each_fold_leaves_other_patients_out_and_without_one_all_are_used(folder, recipe, tmp_path):
    path = recipe(split={"folds": 3}, epochs=1)
    left_out = []
    for fold in range(3):
        out = train(path, folder, tmp_path / f"fold{fold}", fold=fold)
        left_out += json.loads((out / "split.json").read_text(encoding="utf-8"))["test"]
        assert f"--fold {fold}" in (out / "card.json").read_text(encoding="utf-8")
    assert len(left_out) == len(set(left_out)) == 12
    out = train(path, folder, tmp_path / "all")
    assert not (out / "split.json").exists()
    with pytest.raises(InputError, match="--fold"):
        train(recipe(), folder, tmp_path / "wrong", fold=1)


def test_a_stopped_fold_goes_on_with_its_own_patients_or_not_at_all(folder, recipe, tmp_path):
    path = recipe(split={"folds": 3}, epochs=2)

    def stop(_step, _of, what):
        if what == "epoch 2":
            raise Cancelled("power cut")

    with pytest.raises(Cancelled):
        train(path, folder, tmp_path / "run", fold=0, report=stop)
    before = (tmp_path / "run" / "split.json").read_bytes()
    for wrong in (None, 1):
        with pytest.raises(InputError, match=r"--fold"):
            train(path, folder, tmp_path / "run", fold=wrong, resume=True)
    assert (tmp_path / "run" / "split.json").read_bytes() == before
    out = train(path, folder, tmp_path / "run", fold=0, resume=True)
    assert len(read_log(out / "log.csv")) == 2


def test_it_learns_the_boxes(folder, recipe, tmp_path):
    out = train(recipe(epochs=8, samples=24, average=0.8), folder, tmp_path / "run")
    log = read_log(out / "log.csv")
    assert float(log[-1]["validation_dice"]) > 0.9
    assert float(log[-1]["train_loss"]) < 0.5 * float(log[0]["train_loss"])


@pytest.mark.parametrize(
    "changes",
    [
        {"average": 0.8, "precision": "bfloat16"},
        {"keep": "best", "accumulate": 2, "clip": 1.0, "schedule": {"name": "plateau", "patience": 1}},
        {"schedule": {"name": "step", "every": 2, "factor": 0.5}, "split": {"shares": [0.5, 0.5]}},
    ],
)
def test_a_stopped_run_goes_on_to_the_same_curve_and_weights(folder, recipe, tmp_path, changes):
    whole = train(recipe(**changes), folder, tmp_path / "whole")

    def stop(_step, _of, what):
        if what == "epoch 3":
            raise Cancelled("power cut")

    with pytest.raises(Cancelled):
        train(recipe(**changes), folder, tmp_path / "part", report=stop)
    part = train(recipe(**changes), folder, tmp_path / "part", resume=True)
    assert read_log(part / "log.csv") == read_log(whole / "log.csv")
    assert same_weights(part, whole)


def test_averaged_weights_are_kept_instead_of_the_last_ones(folder, recipe, tmp_path):
    plain = train(recipe(), folder, tmp_path / "plain")
    averaged = train(recipe(average=0.9), folder, tmp_path / "averaged")
    assert read_log(plain / "log.csv")[0]["train_loss"] == read_log(averaged / "log.csv")[0]["train_loss"]
    assert not same_weights(plain, averaged)


def test_the_best_epoch_is_kept_where_the_recipe_says_so(folder, recipe, tmp_path):
    good = train(recipe(epochs=5, samples=24), folder, tmp_path / "good")
    # The second epoch, at a rate of 1, spoils what was learnt.
    calm = {"name": "step", "every": 1, "factor": 1e9}
    spoilt = {"optimiser": {"name": "SGD", "lr": 1e-9}, "schedule": calm, "epochs": 2, "weights": None}
    best = train(recipe(keep="best", **spoilt), folder, tmp_path / "best", weights=good / "weights.safetensors")
    last = train(recipe(keep="last", **spoilt), folder, tmp_path / "last", weights=good / "weights.safetensors")
    log = read_log(best / "log.csv")
    assert float(log[0]["validation_dice"]) > float(log[1]["validation_dice"])
    assert not same_weights(best, last)
    assert log[0]["validation_dice"] in (best / "card.json").read_text(encoding="utf-8")


def test_a_run_without_gain_stops_early(folder, recipe, tmp_path):
    still = recipe(optimiser={"name": "SGD", "lr": 0.0}, epochs=20, early_stopping={"monitor": "dice", "patience": 2})
    out = train(still, folder, tmp_path / "run")
    assert len(read_log(out / "log.csv")) < 8
    assert (out / "weights.safetensors").exists()


def test_a_loss_that_is_no_number_ends_the_run_with_one_line(folder, recipe, tmp_path):
    with pytest.raises(InputError, match="learning rate"):
        train(recipe(optimiser={"name": "SGD", "lr": 1e30}, epochs=6), folder, tmp_path / "run")


def test_several_outputs_are_learnt_side_by_side(folder, recipe, tmp_path):
    for path in (folder / "masks").iterdir():
        mask = np.array(Picture.open(path))
        mask[10:14, 46:50] = 100
        Picture.fromarray(mask).save(path)
    two = {**READER, "structures": {255: "bodies", 100: "spinous processes"}}
    out = train(recipe(model="unet-neck-small", data=two), folder, tmp_path / "run")
    network = load_network(card("unet-neck-small"), out / "weights.safetensors")
    assert network(torch.zeros(1, 1, 64, 64)).shape == (1, 2, 64, 64)
    one = {**READER, "structures": {255: "bodies"}}
    with pytest.raises(InputError, match="none of spinous processes"):
        train(recipe(model="unet-neck-small", data=one), folder, tmp_path / "poor")
    with pytest.raises(InputError, match="optimiser"):
        train(recipe(optimiser={"name": "AdamW", "speed": 1}), folder, tmp_path / "wrong")


def test_pictures_keep_their_mask_under_them_and_fill_the_square_as_in_use(folder):
    from SpineSegLib.datasets import read_cases

    model = card("unet-xray-small")
    source = PictureSource(
        read_cases(**READER, folder=folder), targets_of(model.structures), model.input, seed=1, size=96
    )
    source.set_epoch(0)
    assert len(source) == 12
    for picture, masks in (source[number] for number in range(12)):
        assert picture.shape == (1, 96, 96)
        assert masks.shape == (1, 96, 96)
        inside, outside = picture[0][masks[0] > 0], picture[0][masks[0] == 0]
        assert inside.mean() > outside.mean() + 0.3
        assert picture[0][:, 80:].abs().max() == 0, "the padding lies at the right"


def train_command(*arguments, **settings):
    words = [sys.executable, "-m", "SpineSegLib", "train", *map(str, arguments), "--accelerator", "cpu"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}
    return subprocess.Popen(
        words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **settings
    )


@pytest.mark.slow
def test_a_killed_run_loses_no_more_than_an_epoch_and_ends_with_the_same_curve(folder, recipe, tmp_path):
    path = recipe(epochs=5, samples=24, average=0.9)
    # Both by the command: another number of threads rounds otherwise.
    undisturbed = train_command(path, "--data", folder, "--out", tmp_path / "whole")
    assert undisturbed.communicate() and undisturbed.returncode == 0
    run = train_command(path, "--data", folder, "--out", tmp_path / "part")
    deadline = time.monotonic() + 240
    while len(read_log(tmp_path / "part" / "log.csv")) < 2 and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    run.kill()
    run.communicate()
    done = len(read_log(tmp_path / "part" / "log.csv"))
    assert run.returncode != 0
    assert 2 <= done < 5, "killed on the way"
    again = train_command(path, "--data", folder, "--out", tmp_path / "part", "--resume", "--progress", "json")
    printed, said = again.communicate()
    assert again.returncode == 0, said
    epochs = {json.loads(line)["what"] for line in printed.splitlines() if line.startswith("{")}
    assert not {f"epoch {number}" for number in range(1, done)} & epochs, "epochs are not done again"
    assert read_log(tmp_path / "part" / "log.csv") == read_log(tmp_path / "whole" / "log.csv")
    assert same_weights(tmp_path / "part", tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.skipif(
    not hasattr(signal, "SIGKILL"), reason="processes that train together talk by gloo, tested on POSIX"
)
def test_two_processes_train_one_network(folder, recipe, tmp_path):
    path = recipe(epochs=2, samples=24)
    run = train_command(path, "--data", folder, "--out", tmp_path / "run", "--devices", "2")
    _, said = run.communicate(timeout=400)
    assert run.returncode == 0, said
    assert len(read_log(tmp_path / "run" / "log.csv")) == 2
    load_network(card("unet-xray-small"), tmp_path / "run" / "weights.safetensors")


@pytest.mark.parametrize("wrong", [("--devices", "-3"), ("--devices", "x"), ("--nodes", "0"), ("--accelerator", "tpu")])
def test_a_machine_that_cannot_be_is_wrong_usage(tmp_path, capfd, wrong):
    with pytest.raises(SystemExit) as ended:
        main(["train", "unet-xray-small", "--data", str(tmp_path), "--out", str(tmp_path / "run"), *wrong])
    assert ended.value.code == 2
    assert wrong[0] in capfd.readouterr().err
    assert not (tmp_path / "run").exists()
