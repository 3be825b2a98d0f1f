"""The whole of pruning: sensitivity, zeroing, removal, fine-tuning, a report and weights.

Saeed et al., Attention LinkNet-152, Scientific Reports 15 (2025) 13102, "A gradient sensitivity based network pruning",
steps 2 to 5; step 1 is `train`. The paper's network keeps its size, its filters being zero; here they are removed.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch
import yaml
from torch import nn

from SpineSegLib.datasets import read_cases
from SpineSegLib.errors import problem
from SpineSegLib.models import Card, load_network
from SpineSegLib.models import card as find_card
from SpineSegLib.models.weights import save_weights
from SpineSegLib.networks import build
from SpineSegLib.progress import Progress, silent
from SpineSegLib.training.fit import loader
from SpineSegLib.training.parts import make_folder, parts_of, split_of
from SpineSegLib.training.pruning.groups import Structure, structure_of
from SpineSegLib.training.pruning.masks import filter_masks, hold, unit_masks, zero
from SpineSegLib.training.pruning.measure import example_for, loss_of, milliseconds_of, score_of, size_of
from SpineSegLib.training.pruning.removal import choose, removed
from SpineSegLib.training.pruning.report import Row, read_report, write_report
from SpineSegLib.training.pruning.sensitivity import sensitivity
from SpineSegLib.training.recipe import Recipe, read_recipe
from SpineSegLib.training.run import train
from SpineSegLib.training.sources.pairs import pair_of

START, RUN = "start.safetensors", "fine-tuning"


@dataclass(frozen=True)
class Plan:
    """How to prune.

    Parameters
    ----------
    share : p, the share of filters that go; the paper does not give it
    shares : others, for the curve
    remove : take the filters out; the paper leaves them there, at zero
    multiple : see `choose`
    scope : see `choose`
    gradients : see `sensitivity`
    batches : of an epoch's samples that the sensitivity is measured on; all of them where None
    epochs : of fine-tuning; a quarter of the recipe's where None. The paper does not say.
    rate : factor of the recipe's learning rate. The paper says "reduced"; a tenth, as its training reduces it.
    strength, norm : λ and R of the regularisation, see `hold`; the paper gives neither
    repeats : timed runs
    """

    share: float = 0.5
    shares: Sequence[float] = (0.1, 0.3, 0.5, 0.7, 0.9)
    remove: bool = True
    multiple: int = 16
    scope: str = "layer"
    gradients: str = "batch"
    batches: int | None = None
    epochs: int | None = None
    rate: float = 0.1
    strength: float = 1e-4
    norm: str = "l2"
    repeats: int = 5

    def __post_init__(self):
        for name, low, high in (("share", 0, 1), ("rate", 0, 10), ("strength", -1e-12, 1)):
            value = getattr(self, name)
            if not low < value < high:
                raise problem(f"--{name}", f"{value:g}", f"more than {max(low, 0):g}, less than {high}", "Correct it")
        for value in self.shares:
            if not 0 <= value < 1:
                raise problem("--shares", f"{value:g}", "shares from 0 to less than 1", "Correct it")
        for name in ("multiple", "epochs", "batches", "repeats"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise problem(f"--{name}", str(getattr(self, name)), "a number from 1 up", "Correct it")


def prune(
    model: str,
    data: str | Path,
    out: str | Path,
    *,
    plan: Plan | None = None,
    recipe: str | Path | None = None,
    weights: str | Path | None = None,
    reader: str | Mapping[str, object] | None = None,
    fold: int | None = None,
    resume: bool = False,
    report: Progress = silent,
) -> list[Row]:
    """Prune a trained model.

    Parameters
    ----------
    model : name of a card, or a card's file
    data, reader, fold : what it was trained on, see `train`
    out : folder for ``weights.safetensors``, ``card.json``, a whole card for the pruned network, the report,
        ``layers.json`` (which layers keep their channels, and why), and the run of fine-tuning
    plan : see there
    recipe : that it was trained with; the one of the model's name where None
    weights : trained ones; the model's own where None
    resume : go on with fine-tuning that was interrupted

    Returns
    -------
    The report's rows: for each share zeroed and removed; for the plan's share fine-tuned

    Raises
    ------
    InputError : the model, the recipe, the data or the folder is at fault
    """
    card, plan, out = find_card(model), plan or Plan(), Path(out)
    named, recipe = recipe, replace(read_recipe(recipe or card.name), model=str(model))
    recipe = replace(recipe, data=reader or recipe.data)
    make_folder(out, resume)
    if (out / START).exists() and not resume:
        raise problem(out, "an unfinished run", "an empty or new folder", "Go on with --resume, or name another folder")
    network = load_network(card, weights)
    started = resume and (out / START).exists()
    rows = read_report(out / "report.json") if started else []
    if started and _pruned(rows, plan) is None:
        found = f"an unfinished run with another --share than {plan.share:g}, or with and without --zero"
        raise problem(out, found, "the options that it was started with", "Name these, or another folder")
    picture = torch.rand(1, int(card.input["channels"]), *map(int, card.input["size"]))
    report(0, 100, f"reading {data}")
    kind, options = recipe.reader
    cases = read_cases(kind, data, **options)
    (out / RUN).mkdir(exist_ok=True)
    split = split_of(recipe, cases, out / RUN, fold)
    training, validation = pair_of(recipe, card, *parts_of(split, cases))
    validation.set_epoch(0)
    report(2, 100, "drawing the validation samples")
    kept = list(loader(validation, recipe.batch))
    score = partial(score_of, recipe=recipe, batches=kept, folder=out)
    if not started:
        training.set_epoch(0)
        structure = structure_of(network, example_for(network, picture.shape[1]), recipe.part or "")
        if not structure.groups:
            raise problem(card.name, "no layer whose filters can go", "at least one", "Train a narrower model instead")
        (out / "layers.json").write_text(json.dumps({"kept": structure.kept}, indent=2) + "\n", encoding="utf-8")
        found = _sensitivity(network, recipe, training, plan, report)
        rows, start = _stages(network, structure, found, plan, picture, score, report)
        write_report(rows, out, _title(card, plan))
        save_weights(start, out / START)
    masks = {} if plan.remove else _zeros(load_network(card, out / START))
    tuned = replace(recipe, epochs=plan.epochs or max(1, recipe.epochs // 4), optimiser=_slower(recipe, plan.rate))
    (out / "recipe.yaml").write_text(yaml.safe_dump(_plain(asdict(tuned)), sort_keys=False), encoding="utf-8")
    if not (out / RUN / "weights.safetensors").exists():
        train(
            out / "recipe.yaml",
            data,
            out / RUN,
            weights=out / START,
            fold=fold,
            resume=resume and (out / RUN / "last.ckpt").exists(),
            prepare=partial(hold, masks=masks, strength=plan.strength, norm=plan.norm, accumulate=recipe.accumulate),
            report=lambda step, of, what: report(40 + 55 * step // max(of, 1), 100, f"fine-tuning, {what}"),
        )
    final = load_network(card, out / RUN / "weights.safetensors")
    last = _pruned(rows, plan)
    rows = [row for row in rows if row.stage != "fine-tuned"]
    rows.append(replace(last, stage="fine-tuned", score=score(final)))
    write_report(rows, out, _title(card, plan))
    _write_cards(card, final, _command(card.name, plan, named, weights), picture, out)
    shutil.copyfile(out / RUN / "weights.safetensors", out / "weights.safetensors")
    (out / START).unlink()
    return rows


def _sensitivity(network: nn.Module, recipe: Recipe, training, plan: Plan, report: Progress) -> dict[str, torch.Tensor]:
    batches = loader(training, recipe.batch)
    count = min(len(batches), plan.batches or len(batches))
    network = copy.deepcopy(network)

    def some():
        for number, batch in enumerate(batches):
            if number == count:
                return
            report(5 + 15 * number // count, 100, "measuring the sensitivity of filters")
            yield batch

    return sensitivity(network, some(), partial(loss_of, network, recipe), gradients=plan.gradients)


def _stages(
    network: nn.Module,
    structure: Structure,
    found: Mapping[str, torch.Tensor],
    plan: Plan,
    picture: torch.Tensor,
    score: Callable[[nn.Module], float],
    report: Progress,
) -> tuple[list[Row], nn.Module]:
    """Return the rows before fine-tuning, and the network that it starts from."""
    shares = sorted({*plan.shares, plan.share} - {0.0})
    (whole,) = milliseconds_of([network], picture, plan.repeats)
    rows = [Row(0.0, "before", **size_of(network, picture), milliseconds=round(whole, 3), score=score(network))]
    start = network
    for number, share in enumerate(shares):
        report(20 + 20 * number // len(shares), 100, f"pruning {share:.0%}")
        if plan.remove:
            choice = choose(structure, found, share, multiple=plan.multiple, scope=plan.scope)
            zeroed = zero(copy.deepcopy(network), unit_masks(network, choice))
            stages = {"zeroed": zeroed, "removed": removed(network, choice)}
        else:
            stages = {"zeroed": zero(copy.deepcopy(network), filter_masks(network, structure, found, share))}
        # By turns with the whole network, and on its time: what else the machine does slows both.
        now, *times = milliseconds_of([network, *stages.values()], picture, plan.repeats)
        for (stage, each), taken in zip(stages.items(), times, strict=True):
            taken = round(whole * taken / now, 3)
            rows.append(Row(share, stage, **size_of(each, picture), milliseconds=taken, score=score(each)))
        if share == plan.share:
            start = each
    return rows, start


def _pruned(rows: Sequence[Row], plan: Plan) -> Row | None:
    """Return the row of what is fine-tuned; None where the rows are those of another plan."""
    if not plan.remove and any(row.stage == "removed" for row in rows):
        return None
    stage = "removed" if plan.remove else "zeroed"
    return next((row for row in rows if row.stage == stage and row.share == plan.share), None)


def _zeros(network: nn.Module) -> dict[str, torch.Tensor]:
    """Return masks of the filters of a zeroed network that are all zero, and of their biases."""
    masks = {}
    for name, layer in network.named_modules():
        if not isinstance(layer, nn.modules.conv._ConvNd):
            continue
        filters = int(layer.transposed)
        gone = (layer.weight == 0).transpose(0, filters).flatten(1).all(dim=1)
        if gone.any():
            shape = [1] * layer.weight.ndim
            shape[filters] = len(gone)
            masks[f"{name}.weight"] = (~gone).view(shape).expand_as(layer.weight).clone()
            if layer.bias is not None and len(layer.bias) == len(gone):
                masks[f"{name}.bias"] = ~gone
    return masks


def _slower(recipe: Recipe, rate: float) -> dict[str, object]:
    """Return the recipe's optimiser at a lower rate; one without a rate gets a tenth of Adam's usual one."""
    optimiser = {"lr": 1e-3, **recipe.optimiser}
    return {name: float(value) * rate if name in ("lr", "encoder_lr") else value for name, value in optimiser.items()}


def _plain(value: object) -> object:
    """Return mappings and sequences as the dictionaries and lists that YAML knows."""
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def _title(card: Card, plan: Plan) -> str:
    return f"{card.name}: filters {'removed' if plan.remove else 'zeroed'}, {plan.share:.0%} fine-tuned"


def _command(name: str, plan: Plan, recipe: str | Path | None, weights: str | Path | None) -> str:
    """Return the command that prunes like this, without what it does anyway and without anybody's folders."""
    words = [f"python -m SpineSegLib prune {name}"]
    words += [f"--recipe {Path(recipe).stem}"] if recipe else []
    words += [f"--share {plan.share:g}", *(() if plan.remove else ["--zero"])]
    for option in ("multiple", "scope", "batches", "epochs", "rate", "strength", "norm"):
        value = getattr(plan, option)
        if value != getattr(Plan, option):
            words.append(f"--{option} {value:g}" if isinstance(value, int | float) else f"--{option} {value}")
    words += ["--weights FILE"] if weights else []
    return " ".join([*words, "--data FOLDER", "--out FOLDER"])


def _write_cards(card: Card, network: nn.Module, command: str, picture: torch.Tensor, out: Path) -> None:
    """Write ``card.json`` as training does, with the pruned network beside, and a whole card of its own."""
    facts = json.loads((out / RUN / "card.json").read_text(encoding="utf-8"))
    name = f"{card.name}-pruned"
    training = facts["weights"]["training"]
    training["command"] = command
    facts["recipe"]["model"] = card.name
    arguments = dict(card.network["arguments"])
    if getattr(network, "pruned", None):
        arguments["pruned"] = network.pruned
    with torch.device("meta"):
        build(card.network["name"], arguments)  # What is written can be built.
    facts["network"] = {**card.network, "arguments": arguments, "counts": size_of(network, picture)}
    (out / "card.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    whole = {
        **asdict(card),
        "name": name,
        "title": f"{card.title}, pruned",
        "structures": [structure.name for structure in card.structures],
        "network": facts["network"],
        "weights": {**facts["weights"], "file": f"{name}.safetensors", "bundled": False},
    }
    (out / f"{name}.json").write_text(json.dumps(_plain(whole), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
