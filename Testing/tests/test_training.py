"""Training: samples, losses, recipes, and a run that stops and goes on."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
import torch
import yaml
from scipy import ndimage

from SpineSegLib.anatomy import Structure
from SpineSegLib.datasets import read_cases
from SpineSegLib.errors import Cancelled, InputError
from SpineSegLib.image import Geometry, Image, Segmentation
from SpineSegLib.models import card, load_network
from SpineSegLib.resources import resource
from SpineSegLib.training import train
from SpineSegLib.training.fit import read_log
from SpineSegLib.training.randomise import randomise_ct, smooth_field, with_background, with_table
from SpineSegLib.training.recipe import read_recipe
from SpineSegLib.training.sources import FilmSource, Scan, SliceSource, targets_of
from SpineSegLib.training.sources.films import _bent


def patient(step=6.0):
    """A trunk of water with a column of bone, towards head, back and left."""
    shape = (36, 40, 50)
    k, j, i = np.meshgrid(*map(np.arange, shape), indexing="ij")
    hu = np.full(shape, -1000, np.int16)
    hu[((j - 20) / 17) ** 2 + ((i - 25) / 22) ** 2 < 1] = 40
    bodies = (abs(j - 27) < 4) & (abs(i - 25) < 4) & (k % 6 < 5)
    hu[bodies] = 400
    matrix = np.diag([-step, -step, step, 1.0])
    return Image(hu, Geometry(shape, matrix), "CT"), bodies, k // 6


@pytest.fixture
def folder(tmp_path):
    """The patient on disk in TotalSegmentator's layout."""
    image, bodies, level = patient()
    (tmp_path / "data" / "s1" / "segmentations").mkdir(parents=True)

    def write(array, path):
        picture = sitk.GetImageFromArray(array)
        picture.SetSpacing([6.0] * 3)
        sitk.WriteImage(picture, str(path))

    write(image.array, tmp_path / "data" / "s1" / "ct.nii.gz")
    for number in range(6):
        mask = (bodies & (level == number)).astype(np.uint8)
        write(mask, tmp_path / "data" / "s1" / "segmentations" / f"vertebrae_L{6 - number}.nii.gz")
    write(np.ones_like(image.array, np.uint8), tmp_path / "data" / "s1" / "segmentations" / "liver.nii.gz")
    return tmp_path / "data"


@pytest.fixture
def recipe(tmp_path):
    """Return a function that writes a tiny recipe with changes."""

    def write(name="tiny", **changes):
        content = yaml.safe_load(resource("Recipes", "linknet34-ct-small.yaml").read_text(encoding="utf-8"))
        content |= {"epochs": 3, "samples": 4, "batch": 2, "validation": {"samples": 2, "volumes": 1}}
        content["sampling"] = {"size": 64, "step": 6.0, "volumes": 2, "plain": 0.5, "neighbour": 6.0}
        content |= changes
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        return path

    return write


@pytest.fixture
def case():
    image, bodies, _ = patient()
    labels = Segmentation.from_masks({Structure("vertebra", "L1"): bodies}, image.geometry)
    return Scan(image, labels, targets_of((), ["vertebra"]), 6.0)


def test_randomised_patients_differ_but_keep_the_spine_where_it_is(case):
    first, again, other = (
        randomise_ct(case.hu, case.bone, case.step, np.random.default_rng(seed)) for seed in (5, 5, 6)
    )
    assert (first == again).all()
    assert np.abs(first - other).mean() > 10
    assert first.dtype == np.float32
    for volume in (first, other):
        assert np.isfinite(volume).all()
        around = volume[case.bone].mean() - volume[~case.bone & (case.hu > -100)].mean()
        assert around > 50, "bone stays brighter than what surrounds it"


def test_smooth_field_is_standardised_and_smooth():
    field = smooth_field((20, 30, 40), 8, np.random.default_rng(0))
    assert field.shape == (20, 30, 40)
    assert field.mean() == pytest.approx(0, abs=1e-4)
    assert field.std() == pytest.approx(1, rel=1e-3)
    assert np.abs(np.diff(field, axis=2)).mean() < 0.3


def test_anothers_soft_tissue_comes_with_its_texture_and_never_over_bone_or_air(case):
    stripes = np.where(np.arange(30)[:, None, None] % 6 < 3, 0.0, 120.0) * np.ones((30, 25, 20))
    bone = np.zeros(stripes.shape, bool)
    bone[:, 10:14, 8:12] = True
    other = np.where(bone, 700.0, stripes).astype(np.float32)
    out = with_background(case.hu, case.bone, other, bone, case.step, np.random.default_rng(3))
    air = case.hu < -500
    assert (out[case.bone] == case.hu[case.bone]).all()
    assert (out[air] == case.hu[air]).all()
    soft = (case.hu == 40) & (out != case.hu)
    assert soft.sum() > 0.5 * (case.hu == 40).sum()
    assert out[soft].std() > 20, "the plain tissue has got the stripes"
    assert out[soft].max() < 300, "the other's bone does not come with them"


def test_the_table_lies_behind_the_patient_and_leaves_him_as_he_is(case):
    volume = np.pad(case.hu, ((0, 0), (0, 20), (0, 0)), constant_values=-1000)
    out = with_table(volume, case.step, np.random.default_rng(1))
    changed = np.argwhere(out != volume)
    assert len(changed)
    assert changed[:, 1].min() > np.argwhere(volume > -300)[:, 1].max(), "rows grow towards the back"
    assert (with_table(np.full((4, 5, 6), -1000.0), 1.0, np.random.default_rng(0)) == -1000).all()


def test_films_of_a_slab_hold_the_spine_and_project_it_where_it_is(case):
    model = card("unet-xray-small")
    settings = {"seed": 2, "samples": 16, "volumes": 1, "plain": 1.0, "size": 64, "views": 16, "wider": (1, 1)}
    source = FilmSource([case], targets_of(model.structures), case.step, model.input, **settings)
    source.set_epoch(0)
    assert len(source.pool) == 16
    for integrals, masks, pixel in source.pool:
        assert masks.shape == (1, 64, 64)
        assert masks.any()
        assert integrals[masks[0]].mean() > integrals.mean(), "bone absorbs more than the rest of the film"
        assert pixel > 0


def test_a_bent_film_and_its_masks_bend_alike_and_no_further_than_told():
    masks = np.zeros((1, 120, 80), bool)
    masks[0, :, 35:45] = True
    furthest = []
    for seed in range(12):
        picture, bent = _bent(masks[0].astype(np.float32), masks, 0.15, np.random.default_rng(seed))
        assert ((picture > 0.5) == bent[0]).mean() > 0.98
        assert (bent.sum(axis=2) == 10).all(), "rows are shifted, not stretched"
        middles = (bent[0] * np.arange(80)).sum(axis=1) / 10
        furthest.append(abs(middles - 39.5).max())
        assert abs(np.diff(middles, 2)).max() <= 2, "a smooth curve"
    assert 4 < max(furthest) <= 0.15 * 80 + 1
    assert len(set(np.round(furthest))) >= 5, "now more, now less"


def test_digital_patients_need_no_scan_and_a_source_of_scans_needs_one():
    model = card("linknet34-ct-small")
    settings = {"seed": 2, "samples": 4, "volumes": 1, "plain": 0.0, "size": 64}
    arguments = (targets_of(model.structures, ["vertebra", "sacrum"]), 8.0, model.input)
    source = SliceSource([], *arguments, phantoms=1.0, **settings)
    source.set_epoch(0)
    assert sum(float(source[index][1].sum()) for index in range(4)) > 0
    with pytest.raises(ValueError, match="no scan"):
        SliceSource([], *arguments, phantoms=0.5, **settings)


def test_digital_patients_get_a_chest_where_it_is_asked_for_and_scans_never(case):
    model = card("unet-xray-small")
    settings = {"seed": 2, "samples": 4, "volumes": 2, "plain": 1.0, "size": 64, "views": 1}

    def volumes(scans, **more):
        found = []
        source = FilmSource(scans, targets_of(model.structures), 6.0, model.input, **settings, **more)
        source.prepared = lambda scan, volume, random: found.append((scan, volume)) or []
        source.set_epoch(0)
        return found

    for scan, volume in volumes([], phantoms=1.0, chests=1.0):
        close = ndimage.binary_dilation(scan.bone, iterations=3) & ~scan.bone
        lung = [((each > -990) & (each < -450))[close].mean() for each in (scan.hu, volume)]
        assert lung[1] > lung[0] + 0.03
        assert (volume[scan.bone] == scan.hu[scan.bone]).all()
    assert all((volume == scan.hu).all() for scan, volume in volumes([], phantoms=1.0))
    assert all((volume == scan.hu).all() for scan, volume in volumes([case], chests=1.0))


@pytest.mark.parametrize("kind", [SliceSource, FilmSource])
def test_samples_depend_on_seed_epoch_and_index_alone(case, kind):
    model = card("linknet34-ct-small" if kind is SliceSource else "unet-xray-small")
    settings = {"seed": 3, "samples": 4, "volumes": 2, "plain": 0.3, "size": 64}
    settings |= {} if kind is SliceSource else {"views": 2, "keep": 2, "bend": 0.2}
    one, two = (kind([case], targets_of(model.structures), case.step, model.input, **settings) for _ in range(2))
    one.set_epoch(0)
    one.set_epoch(1)
    two.set_epoch(1)  # as a resumed run does
    for index in range(4):
        (picture, mask), (other, other_mask) = one[index], two[index]
        assert (picture == other).all()
        assert (mask == other_mask).all()
        assert picture.shape == (model.input["channels"], 64, 64)
        assert mask.shape == (1, 64, 64)
        assert 0 <= picture.min() <= picture.max() <= 1
        assert set(mask.unique().tolist()) <= {0.0, 1.0}
    assert any(not (one[0][0] == one[index][0]).all() for index in range(1, 4))


def test_masks_of_slices_lie_on_bright_bone(case):
    settings = {"seed": 1, "samples": 12, "volumes": 1, "plain": 1.0, "size": 96}
    model = card("linknet34-ct-small")
    source = SliceSource([case], targets_of(model.structures), case.step, model.input, **settings)
    source.set_epoch(0)
    inside, outside = [], []
    for index in range(12):
        picture, mask = source[index]
        inside.append(picture[1][mask[0] > 0])
        outside.append(picture[1][mask[0] == 0])
    assert torch.cat(inside).numel() > 200
    assert torch.cat(inside).mean() > torch.cat(outside).mean() + 0.2


def test_run_writes_weights_a_card_a_log_and_curves_and_the_weights_load(folder, recipe, tmp_path):
    out = train(recipe(), folder, tmp_path / "run")
    entry = json.loads((out / "card.json").read_text(encoding="utf-8"))["weights"]
    assert entry["bytes"] == (out / "weights.safetensors").stat().st_size
    assert len(read_log(out / "log.csv")) == 3
    assert (out / "curves.png").read_bytes()[:4] == b"\x89PNG"
    network = load_network(card("linknet34-ct-small"), out / "weights.safetensors")
    assert not network.training
    with pytest.raises(InputError, match="finished run"):
        train(recipe(), folder, out)


def test_a_run_can_start_from_given_weights_and_learns_on(folder, recipe, tmp_path):
    first = train(recipe(), folder, tmp_path / "first")
    begin = first / "weights.safetensors"
    frozen = {"name": "SGD", "lr": 0.0}
    still = train(recipe(optimiser=frozen), folder, tmp_path / "still", weights=begin)
    later = train(recipe(), folder, tmp_path / "later", weights=begin)
    old, same, new = (
        load_network(card("linknet34-ct-small"), run / "weights.safetensors") for run in (first, still, later)
    )
    for name, parameter in old.named_parameters():
        assert torch.equal(parameter, same.get_parameter(name)), name
    assert not torch.equal(old.encoder.conv1.weight, new.encoder.conv1.weight)
    # Batch normalisation goes on counting: the network is in training mode.
    assert not torch.equal(old.encoder.bn1.running_mean, same.encoder.bn1.running_mean)
    with pytest.raises(InputError, match="no such file"):
        train(recipe(), folder, tmp_path / "none", weights=tmp_path / "nothing.safetensors")


def test_a_stopped_run_goes_on_to_the_same_curve_and_weights(folder, recipe, tmp_path):
    whole = train(recipe(), folder, tmp_path / "whole")
    started = []

    def stop(step, of, what):
        started.append(what)
        if what == "epoch 3":
            raise Cancelled("power cut")

    with pytest.raises(Cancelled):
        train(recipe(), folder, tmp_path / "part", report=stop)
    assert not (tmp_path / "part" / "weights.safetensors").exists()
    with pytest.raises(InputError, match="--resume"):
        train(recipe(), folder, tmp_path / "part")
    part = train(recipe(), folder, tmp_path / "part", resume=True)
    assert read_log(part / "log.csv") == read_log(whole / "log.csv")
    ours, theirs = (load_network(card("linknet34-ct-small"), run / "weights.safetensors") for run in (part, whole))
    for (name, one), two in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
        assert torch.equal(one, two), name


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"seed": "x"}, "seed is 'x'"),
        ({"speed": 9}, "unknown speed"),
        ({"data": "nowhere"}, "the reader 'nowhere'"),
        ({"source": "dreams"}, "source is 'dreams'"),
        ({"model": "unet9"}, "no model 'unet9'"),
        ({"sampling": {"step": 6.0, "colour": 1, "volumes": 1, "plain": 0}}, "colour"),
        ({"foreground": ["sacrum"]}, "labels are vertebra"),
    ],
)
def test_a_wrong_recipe_is_refused_in_one_line(folder, recipe, tmp_path, changes, says):
    with pytest.raises(InputError, match=says) as error:
        train(recipe(**changes), folder, tmp_path / "run")
    assert "\n" not in str(error.value)


def test_what_is_no_recipe_is_refused_and_known_ones_named(tmp_path):
    bad = tmp_path / "bad.yaml"
    bad.write_text("model: [1, 2", encoding="utf-8")
    for name in (bad, tmp_path / "none.yaml", "no-such-recipe"):
        with pytest.raises(InputError, match="linknet34-ct-small"):
            read_recipe(name)


def test_data_folders_that_hold_nothing_usable_are_refused(tmp_path, folder):
    with pytest.raises(InputError, match="no such folder"):
        read_cases("ct-folder", tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no labelled CT"):
        read_cases("ct-folder", tmp_path / "empty")
    (folder / "s1" / "ct.nii.gz").rename(folder / "s1" / "scan.nii.gz")
    with pytest.raises(InputError, match="no image"):
        read_cases("ct-folder", folder)[0].load()


def test_case_on_disk_keeps_its_levels_and_skips_other_organs(folder):
    [case] = read_cases("ct-folder", folder)
    image, labels = case.load()
    assert case.name == case.patient == "s1"
    assert image.modality == "CT"
    assert {segment.name for segment in labels.segments} == {f"L{n}" for n in range(1, 7)}


@pytest.mark.parametrize("name", [path.stem for path in resource("Recipes").glob("*.yaml")])
def test_every_recipe_that_ships_is_whole(name):
    found = read_recipe(name)
    training = card(found.model).weights.training
    # The card's seed is that of the recipe its command names, the last stage.
    if training and f"train {name} " in training["command"]:
        assert training["seed"] == found.seed
    assert all({"name", "licence"} <= set(item) for item in found.training_data)
