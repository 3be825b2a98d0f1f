"""The command ``prune``: stages, report, weights and cards, interruption."""

import csv
import json
from itertools import pairwise

import numpy as np
import pytest
import SimpleITK as sitk
import torch
import yaml

from SpineSegLib.cli import main
from SpineSegLib.errors import Cancelled, InputError
from SpineSegLib.models import card, load_network
from SpineSegLib.models.cards import read_card
from SpineSegLib.models.describe import count, describe
from SpineSegLib.models.weights import save_weights
from SpineSegLib.networks import build
from SpineSegLib.training.pruning import Plan, Row, prune

MODEL = "unet-xray-small"


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """A folder of small films and masks, a recipe for them, a card of a narrow network, and weights."""
    folder = tmp_path_factory.mktemp("films")
    for part in ("images", "masks"):
        (folder / "data" / part).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(4):
        mask = np.zeros((64, 64), np.uint8)
        for row in range(6 + number, 58, 12):
            mask[row : row + 9, 24:40] = 1
        film = np.clip(60 + 120 * mask + rng.normal(0, 8, mask.shape), 0, 255).astype(np.uint8)
        sitk.WriteImage(sitk.GetImageFromArray(film), str(folder / "data" / "images" / f"p{number}.png"))
        sitk.WriteImage(sitk.GetImageFromArray(255 * mask), str(folder / "data" / "masks" / f"p{number}.png"))
    content = {
        "model": MODEL,
        "data": {"reader": "image-mask-folder", "structures": "spine"},
        "source": "pictures",
        "seed": 1,
        "epochs": 4,
        "batch": 2,
        "sampling": {"size": 64},
        "optimiser": {"name": "AdamW", "lr": 0.01},
        "loss": {"bce": 1},
        "training_data": [{"name": "films", "licence": "CC0"}],
        "licence": "CC0",
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    data = json.loads(_card_file(MODEL).read_text(encoding="utf-8"))
    data |= {"name": "narrow", "structures": ["spine"], "weights": {}}
    data["network"] = {"name": "unet", "arguments": {"width": 8, "channels": 1, "classes": 1}}
    data["input"] |= {"size": [64, 64]}
    (folder / "narrow.json").write_text(json.dumps(data), encoding="utf-8")
    torch.manual_seed(0)
    save_weights(build("unet", data["network"]["arguments"]), folder / "narrow.safetensors")
    return folder


def _card_file(name):
    from SpineSegLib.resources import resource

    return resource("Models", f"{name}.json")


def pruned(films, out, *, report=None, resume=False, **plan):
    options = {"share": 0.5, "shares": (0.25,), "multiple": 2, "epochs": 2, "repeats": 1, **plan}
    return prune(
        str(films / "narrow.json"),
        films / "data",
        out,
        plan=Plan(**options),
        recipe=films / "recipe.yaml",
        weights=films / "narrow.safetensors",
        resume=resume,
        **({} if report is None else {"report": report}),
    )


def test_the_command_reports_every_stage_and_writes_what_the_other_commands_read(films, tmp_path, capsys):
    out = tmp_path / "out"
    options = ["--share", "0.5", "--shares", "0.25,0.75", "--multiple", "2", "--epochs", "1", "--json"]
    files = ["--data", films / "data", "--recipe", films / "recipe.yaml", "--weights", films / "narrow.safetensors"]
    words = ["prune", films / "narrow.json", *files, "--out", out, *options]
    assert main([str(word) for word in words]) == 0
    rows = [Row(**row) for row in json.loads(capsys.readouterr().out)]
    assert [(row.share, row.stage) for row in rows] == [
        (0.0, "before"),
        *((share, stage) for share in (0.25, 0.5, 0.75) for stage in ("zeroed", "removed")),
        (0.5, "fine-tuned"),
    ]
    by_name = {(row.share, row.stage): row for row in rows}
    for share in (0.25, 0.5, 0.75):
        assert by_name[share, "zeroed"].parameters == rows[0].parameters
        assert by_name[share, "removed"].score == pytest.approx(by_name[share, "zeroed"].score, abs=1e-3)
    sizes = [rows[0], *(by_name[share, "removed"] for share in (0.25, 0.5, 0.75))]
    for larger, smaller in pairwise(sizes):
        assert smaller.parameters < larger.parameters
        assert smaller.multiply_adds < larger.multiply_adds
    with (out / "report.csv").open(encoding="utf-8") as file:
        assert [float(row["score"]) for row in csv.DictReader(file)] == [row.score for row in rows]
    assert (out / "report.md").read_text(encoding="utf-8").count("\n|") == len(rows) + 2
    assert sitk.GetArrayFromImage(sitk.ReadImage(str(out / "curve.png"))).std() > 10

    whole, own = read_card(films / "narrow.json"), read_card(out / "narrow-pruned.json")
    command = (
        "prune narrow --recipe recipe --share 0.5 --multiple 2 --epochs 1 --weights FILE --data FOLDER --out FOLDER"
    )
    facts = json.loads((out / "card.json").read_text(encoding="utf-8"))
    assert facts["weights"]["training"]["command"].endswith(command)
    assert count(own) == (rows[-1].parameters, rows[-1].multiply_adds)
    assert describe(own)["parameters"] == rows[-1].parameters
    x = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        a, b = (load_network(each, out / "weights.safetensors")(x) for each in (whole, own))
    assert torch.equal(a, b)

    film = films / "data" / "images" / "p0.png"
    for model in (films / "narrow.json", out / "narrow-pruned.json"):
        words = ["segment", film, "--model", model, "--weights", out / "weights.safetensors", "--modality", "XR"]
        assert main([str(word) for word in (*words, "--output", tmp_path / f"{model.stem}.png")]) == 0
    first, second = ((tmp_path / f"{stem}.png").read_bytes() for stem in ("narrow", "narrow-pruned"))
    assert first == second
    words = ["train", films / "recipe.yaml", "--model", films / "narrow.json", "--data", films / "data"]
    words += ["--weights", out / "weights.safetensors", "--out", tmp_path / "more"]
    assert main([str(word) for word in words]) == 0
    more = load_network(whole, tmp_path / "more" / "weights.safetensors")
    assert sum(p.numel() for p in more.parameters()) == rows[-1].parameters


def test_filters_stay_at_zero_when_none_is_removed(films, tmp_path):
    rows = pruned(films, tmp_path / "out", remove=False)
    assert [(row.share, row.stage) for row in rows] == [
        (0.0, "before"),
        (0.25, "zeroed"),
        (0.5, "zeroed"),
        (0.5, "fine-tuned"),
    ]
    assert len({row.parameters for row in rows}) == 1
    network = load_network(read_card(films / "narrow.json"), tmp_path / "out" / "weights.safetensors")
    for name, layer in network.named_modules():
        if isinstance(layer, torch.nn.Conv2d) and layer.out_channels > 1:
            gone = (layer.weight == 0).flatten(1).all(dim=1)
            assert int(gone.sum()) == layer.out_channels // 2, name


def test_an_interrupted_run_goes_on_where_it_was(films, tmp_path):
    wanted = pruned(films, tmp_path / "whole")

    def stop(_step, _of, what):
        if "epoch 2" in what:
            raise Cancelled(what)

    with pytest.raises(Cancelled):
        pruned(films, tmp_path / "out", report=stop)
    with pytest.raises(InputError, match="--resume"):
        pruned(films, tmp_path / "out")
    for other in ({"share": 0.4}, {"remove": False}):
        with pytest.raises(InputError, match="another --share"):
            pruned(films, tmp_path / "out", resume=True, **other)
    rows = pruned(films, tmp_path / "out", resume=True)
    assert [row.score for row in rows] == [row.score for row in wanted]
    a, b = ((tmp_path / name / "weights.safetensors").read_bytes() for name in ("whole", "out"))
    assert a == b


@pytest.mark.parametrize(
    ("plan", "flaw"),
    [({"share": 1.0}, "--share"), ({"shares": (0.5, -1)}, "--shares"), ({"multiple": 0}, "--multiple")],
)
def test_a_plan_that_cannot_be_is_refused(plan, flaw):
    with pytest.raises(InputError, match=flaw):
        Plan(**plan)


def test_a_model_without_weights_cannot_be_pruned(films, tmp_path):
    with pytest.raises(InputError, match="no weights"):
        prune("linknet152-view", films / "data", tmp_path / "out", recipe=films / "recipe.yaml")


def test_cards_are_found_by_name_and_by_file(films):
    assert card(str(films / "narrow.json")).name == "narrow"
    assert card(MODEL).name == MODEL
