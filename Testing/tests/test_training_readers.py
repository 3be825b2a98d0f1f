"""Every reader's data set trains a network, stops, and goes on; on the command line too."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from dataset_copies import film, write_picture
from reader_copies import COPIES

from SpineSegLib.cli import main
from SpineSegLib.datasets import READERS, read_cases
from SpineSegLib.errors import Cancelled, InputError
from SpineSegLib.models import card, load_network
from SpineSegLib.resources import resource
from SpineSegLib.training import train
from SpineSegLib.training.fit import read_log

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = {"pictures": "unet-lumbar-mr-small", "slices": "linknet34-ct-small", "films": "unet-xray-small"}
"""Source of samples -> a recipe that ships with it; runs here are these, made small."""
CPU = {"accelerator": "cpu"}


def small(path: Path, source: str, **changes: object) -> Path:
    """Write a shipped recipe, made small: two epochs of two samples of 32 pixels."""
    content = yaml.safe_load(resource("Recipes", f"{SHIPPED[source]}.yaml").read_text(encoding="utf-8"))
    content |= {"epochs": 2, "samples": 2, "batch": 2, "split": {"shares": [0.5, 0.5]}, "foreground": None}
    content |= {"average": None, "precision": "float32", "sampling": {"size": 32}, "validation": {"samples": 2}}
    if source == "pictures":
        content["augmentation"] = [{"name": "rotate", "degrees": 10}]
        content["validation"]["augmentation"] = []
    else:
        content["sampling"] |= {"step": 3.0, "volumes": 1, "plain": 0.5}
    path.write_text(yaml.safe_dump(content | changes), encoding="utf-8")
    return path


@pytest.fixture
def narrow(monkeypatch):
    """Make runs train a U-Net of two channels, and draw no curves; return a function from name to such a card.

    All sets are trained on here; how a network learns, and what a run writes, is tested elsewhere.
    """

    def narrow_card(name):
        whole = card(name)
        arguments = {"width": 2, "channels": whole.input["channels"], "classes": 1}
        return replace(whole, network={"name": "unet", "arguments": arguments})

    monkeypatch.setattr("SpineSegLib.training.run.find_card", narrow_card)
    monkeypatch.setattr("SpineSegLib.training.run.plot_log", lambda _log, _picture: None)
    return narrow_card


def stop_in_second_epoch(_step: int, _of: int, what: str) -> None:
    if what == "epoch 2":
        raise Cancelled("power cut")


def test_every_reader_has_a_copy_of_its_set():
    assert set(COPIES) == set(READERS)


@pytest.mark.parametrize("reader", sorted(READERS))
def test_a_run_on_every_readers_set_stops_and_goes_on(tmp_path, reader, narrow):
    copy = COPIES[reader]
    data, out = tmp_path / "data", tmp_path / "run"
    data.mkdir()
    copy.write(data)
    recipe = small(tmp_path / "small.yaml", copy.source, foreground=[copy.kind])
    how = {"reader": {"reader": reader, **copy.options}, "machine": CPU}
    with pytest.raises(Cancelled):
        train(recipe, data, out, report=stop_in_second_epoch, **how)
    before = read_log(out / "log.csv")
    assert len(before) == 1
    train(recipe, data, out, resume=True, **how)
    after = read_log(out / "log.csv")
    assert after[:1] == before, "the first epoch is not done again"
    assert len(after) == 2
    load_network(narrow(SHIPPED[copy.source]), out / "weights.safetensors")

    patients = {case.name: case.patient for case in read_cases(reader, data, **copy.options)}
    split = json.loads((out / "split.json").read_text(encoding="utf-8"))
    trained, tested = ({patients[name] for name in split[part]} for part in ("training", "test"))
    assert trained
    assert tested
    assert not trained & tested


def test_the_command_line_goes_on_with_a_readers_options_as_a_recipe_has_them(tmp_path, narrow, capsys):
    COPIES["spider"].write(tmp_path)
    recipe, out = small(tmp_path / "small.yaml", "pictures"), tmp_path / "run"
    with pytest.raises(Cancelled):
        options = {"reader": "spider", "slices": 3}
        train(recipe, tmp_path, out, reader=options, report=stop_in_second_epoch, machine=CPU)
    words = ["train", recipe, "--data", tmp_path, "--out", out, "--accelerator", "cpu"]
    words += ["--reader", "{reader: spider, slices: 3}"]
    assert main(list(map(str, words))) == 1
    assert "--resume" in capsys.readouterr().err
    assert main(list(map(str, [*words, "--resume"]))) == 0
    assert len(read_log(out / "log.csv")) == 2
    command = json.loads((out / "card.json").read_text(encoding="utf-8"))["weights"]["training"]["command"]
    given = shlex.split(command)
    assert yaml.safe_load(given[given.index("--reader") + 1]) == options


def test_a_set_that_shows_nothing_of_what_the_model_finds_is_refused_before_training(tmp_path, narrow):
    COPIES["csxa"].write(tmp_path)
    recipe = small(tmp_path / "small.yaml", "pictures")
    with pytest.raises(InputError, match="no case has vertebrae, the first has body"):
        train(recipe, tmp_path, tmp_path / "run", reader="csxa", machine=CPU)
    with pytest.raises(InputError, match="no samples"):
        train(small(tmp_path / "none.yaml", "slices", samples=None), tmp_path, tmp_path / "run", machine=CPU)


def test_the_readme_has_every_reader_in_its_table_and_a_recipe_that_trains(tmp_path, narrow):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    readers = re.findall(r"^\| `([\w-]+)` \| ", text.split("| reader | set |")[1].split("\n\n")[0], re.MULTILINE)
    assert readers == sorted(READERS)
    content = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])
    for number in range(6):
        write_picture(tmp_path / "images" / f"p{number // 2}_{number}.png", film(40, 40, seed=number))
        write_picture(tmp_path / "masks" / f"p{number // 2}_{number}.png", np.eye(40, dtype=np.uint8) * 255)
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(content | {"epochs": 1, "sampling": {"size": 32}}))
    train(tmp_path / "own.yaml", tmp_path, tmp_path / "run", machine=CPU)
    split = json.loads((tmp_path / "run" / "split.json").read_text(encoding="utf-8"))
    assert sorted(map(len, split.values())) == [2, 2, 2], "films of a patient stay together"


@pytest.mark.parametrize("reader", ["[spider]", "{spider", "7", ""])
def test_what_names_no_reader_is_one_line_on_the_command_line(tmp_path, capsys, reader):
    words = ["train", "unet-lumbar-mr-small", "--data", str(tmp_path), "--out", str(tmp_path / "run")]
    assert main([*words, "--reader", reader]) == 1
    assert capsys.readouterr().err.startswith("error: --reader: ")
