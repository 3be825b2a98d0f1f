"""Recipes that ship: each can be run, and those of the papers say what the papers say."""

import re
from pathlib import Path

import pytest
import torch

from SpineSegLib.datasets import READERS, Case
from SpineSegLib.datasets.splits import split_cases
from SpineSegLib.errors import InputError
from SpineSegLib.models import registry
from SpineSegLib.resources import resource
from SpineSegLib.training import train
from SpineSegLib.training.augment import augmentation
from SpineSegLib.training.losses import check_terms
from SpineSegLib.training.recipe import read_recipe
from SpineSegLib.training.sources import SOURCES
from SpineSegLib.training.sources.volumes import VolumeSource

RECIPES = sorted(path.stem for path in resource("Recipes").glob("*.yaml"))

ALL_FOUR = {"dice": 0.5, "focal_tversky": 0.3, "hdt_karimi": 0.1, "ssim": 0.1}
PAPER_000 = {"epochs": 50, "batch": 1, "optimiser": "AdamW", "schedule": "cosine", "size": 1024}
PAPER_003 = {"epochs": 100, "lr": 0.001, "schedule": "plateau", "loss": {"bce": 1}, "size": 256}
PAPERS = {
    "cervspinenet": PAPER_000 | {"loss": ALL_FOUR},
    "cervspinenet-clahe": PAPER_000 | {"loss": ALL_FOUR},
    "cervspinenet-augmented": PAPER_000 | {"loss": ALL_FOUR, "samples": 800, "steps": ["rotate", "translate"]},
    "cervspinenet-cnn": PAPER_000 | {"loss": ALL_FOUR},
    "cervspinenet-loss-dice": PAPER_000 | {"loss": {"dice": 0.5}},
    "cervspinenet-loss-dice-ft": PAPER_000 | {"loss": {"dice": 0.5, "focal_tversky": 0.3}},
    "cervspinenet-loss-dice-ssim": PAPER_000 | {"loss": {"dice": 0.5, "ssim": 0.1}},
    "cervspinenet-loss-dice-ft-ssim": PAPER_000 | {"loss": {"dice": 0.5, "focal_tversky": 0.3, "ssim": 0.1}},
    "unet-512": PAPER_000 | {"loss": {"bce": 1}, "size": 512},
    "sam": PAPER_000 | {"loss": {"bce": 1, "dice": 1}},
    "paper004": {
        "epochs": 300,
        "batch": 4,
        "optimiser": "Adam",
        "lr": 0.001,
        "schedule": "cosine",
        "loss": {"bce": 1, "dice": 1},
        "size": 480,
        "steps": ["flip", "flip", "rotate"],
    },
    "linknet34": PAPER_003 | {"optimiser": "Adam"},
    "linknet152-view": PAPER_003 | {"optimiser": "Adamax"},
}
"""What the papers state, by recipe."""


def films(count=60):
    """Cases that are never loaded."""
    return [Case(f"film-{n}", f"patient-{n}", load=lambda: None) for n in range(count)]


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_that_ships_names_only_what_there_is(name):
    recipe = read_recipe(name)
    model = registry()[recipe.model]
    assert recipe.reader[0] in READERS
    assert recipe.source in SOURCES
    if recipe.loss:  # networks with a loss of their own have none in the recipe
        check_terms(recipe.loss)
    made = augmentation(recipe.augmentation)
    assert not made.steps or not issubclass(SOURCES[recipe.source], VolumeSource), "volumes are augmented by their own"
    if made.steps:
        seen = [recipe.validation]
        if recipe.source == "mixed":
            seen = [recipe.validation[name] for name, how in recipe.sampling.items() if how["source"] == "pictures"]
        assert all(how["augmentation"] == [] for how in seen), "validation sees pictures as they are"
    arguments = {key: value for key, value in recipe.optimiser.items() if key not in ("name", "encoder_lr")}
    getattr(torch.optim, recipe.optimiser["name"])([torch.zeros(1, requires_grad=True)], **arguments)
    if recipe.split:
        split = split_cases(films(), recipe.split, seed=recipe.seed, fold=0 if "folds" in recipe.split else None)
        assert split.training
        assert split.validation or split.test
        # An epoch or a learning rate that is chosen must not be chosen on the test cases.
        chooses = recipe.keep == "best" or recipe.schedule["name"] == "plateau" or recipe.early_stopping
        assert split.validation or not chooses
    assert model.input["size"]
    text = Path(resource("Recipes", f"{name}.yaml")).read_text(encoding="utf-8")
    prunes = f"python -m SpineSegLib prune {recipe.model} --recipe {name} --data"
    assert f"python -m SpineSegLib train {name} --data" in text or prunes in text, "the command stands at the top"


@pytest.mark.parametrize("name", sorted(set(PAPERS) & set(RECIPES)))
def test_a_papers_recipe_says_what_the_paper_says(name):
    recipe, said = read_recipe(name), PAPERS[name]
    found = {
        "epochs": recipe.epochs,
        "batch": recipe.batch,
        "samples": recipe.samples,
        "optimiser": recipe.optimiser["name"],
        "lr": recipe.optimiser["lr"],
        "schedule": recipe.schedule["name"],
        "loss": recipe.loss,
        "size": int(recipe.sampling.get("size", registry()[recipe.model].input["size"][0])),
        "steps": [step["name"] for step in recipe.augmentation],
    }
    assert {key: found[key] for key in said} == said


def test_models_that_paper_004s_recipe_lists_are_there_and_see_the_same_films():
    text = Path(resource("Recipes", "paper004.yaml")).read_text(encoding="utf-8")
    listed = text.split("NAME: ")[1].split(".\n")[0].replace("#", " ").replace(" or ", ", ").replace(";", ",")
    names = [name.strip() for name in listed.split(",")]
    assert len(names) == 18
    own = registry()["cvm-unet"].input
    assert own["intensity"]["denoise"] == {"h": 10, "template": 7, "search": 21}
    assert all(registry()[name].input == own for name in names)


def test_paper_000s_variants_differ_in_their_data_alone():
    plain = vars(read_recipe("cervspinenet"))
    augmented = vars(read_recipe("cervspinenet-augmented"))
    clahe = vars(read_recipe("cervspinenet-clahe"))
    assert {key for key in plain if plain[key] != augmented[key]} == {"augmentation", "samples", "validation"}
    assert {key for key in plain if plain[key] != clahe[key]} == {"model"}
    one, two = (registry()[name] for name in ("cervspinenet", "cervspinenet-clahe"))
    assert one.network == two.network
    assert set(two.input["intensity"]) - set(one.input["intensity"]) == {"clahe"}


def test_published_ranges_of_paper_000_reach_the_augmentation():
    rotate, move = read_recipe("cervspinenet-augmented").augmentation
    assert rotate["choose"] == [[-10, 10], [-45, 45]]
    assert move["pixels"] == 10


@pytest.mark.parametrize(
    ("more", "key"), [("epochs: 2", "epochs"), ('"epochs": 2', "epochs"), ("sampling: {a: 1, b: 2, a: 3}", "a")]
)
def test_a_recipe_with_a_key_twice_is_refused_with_key_and_line(tmp_path, more, key):
    lines = resource("Recipes", "unet-512.yaml").read_text(encoding="utf-8").splitlines()
    path = tmp_path / "twice.yaml"
    path.write_text("\n".join([*lines, more]), encoding="utf-8")
    said = f"twice.yaml: line {len(lines) + 1} has the key '{key}' a second time; expected each key once."
    with pytest.raises(InputError, match=re.escape(said)) as error:
        read_recipe(path)
    assert "\n" not in str(error.value)


def test_a_recipe_may_merge_a_mapping_and_change_its_keys(tmp_path):
    text = resource("Recipes", "unet-512.yaml").read_text(encoding="utf-8")
    text += "sampling: &all {size: 64, raw: true}\nvalidation: {<<: *all, raw: false}\n"
    (tmp_path / "merged.yaml").write_text(text, encoding="utf-8")
    recipe = read_recipe(tmp_path / "merged.yaml")
    assert recipe.validation == {"size": 64, "raw": False}
    assert recipe.sampling == {"size": 64, "raw": True}


def test_a_recipe_makes_no_objects(tmp_path):
    text = resource("Recipes", "unet-512.yaml").read_text(encoding="utf-8")
    (tmp_path / "bad.yaml").write_text(f"{text}clip: !!python/object/apply:os.getcwd []\n", encoding="utf-8")
    with pytest.raises(InputError, match="no recipe"):
        read_recipe(tmp_path / "bad.yaml")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("loss: {dise: 1}", "no loss 'dise'"),
        ("loss: {hdt_as_written: 1}", "hdt_karimi"),
        ("augmentation: [{name: spin}]", "no augmentation step 'spin'"),
        ("augmentation: [{name: rotate, degree: 5}]", "rotate: unknown degree"),
    ],
)
def test_a_wrong_term_or_step_is_refused_before_any_data_is_read(tmp_path, change, says):
    lines = resource("Recipes", "unet-512.yaml").read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if not line.startswith(change.split(":")[0])]
    path = tmp_path / "wrong.yaml"
    path.write_text("\n".join([*kept, change]), encoding="utf-8")
    with pytest.raises(InputError, match=says):
        train(path, tmp_path / "no-data", tmp_path / "out")
    assert not (tmp_path / "out").exists()
