"""Many cases: pairs of files evaluated one after the other, each remembered by its numbers alone."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from SpineSegLib.anatomy import structure_named
from SpineSegLib.datasets.files import LABELS, by_stem
from SpineSegLib.errors import Cancelled, InputError, problem
from SpineSegLib.evaluation.agreement import Evaluation, Values
from SpineSegLib.evaluation.metrics import Instances, Settings, count_instances, definitions, together, weighted
from SpineSegLib.io.suffixes import split_suffix
from SpineSegLib.io.tables import read_table
from SpineSegLib.progress import Progress, silent


@dataclass(frozen=True)
class CasePair:
    """The files of one case; a file is None where the case lacks it."""

    name: str
    prediction: Path | None
    truth: Path | None
    probability: Path | None = None


def case_files(folder: Path) -> dict[str, Path]:
    """Return a folder's segmentations by name without suffix; DICOM is not looked for, a table can name it.

    Raises
    ------
    InputError : two files of one name
    """
    return by_stem(folder, LABELS)


def pairs_by_name(predictions: Path, truths: Path, probabilities: Path | None = None) -> list[CasePair]:
    """Pair the files of two folders by their names without suffix; names on one side alone stay without partner.

    Raises
    ------
    InputError : no name is on both sides, or two files of one folder have one name
    """
    ours, theirs = case_files(predictions), case_files(truths)
    chances = case_files(probabilities) if probabilities else {}
    if not ours.keys() & theirs.keys():
        examples = [next(iter(sorted(side)), "nothing") for side in (ours, theirs)]
        found = f"no file has the name of one in {truths} (here {examples[0]!r}, there {examples[1]!r})"
        raise problem(predictions, found, "one name for both files of a case", "Rename them, or give --table")
    return [
        CasePair(name, ours.get(name), theirs.get(name), chances.get(name)) for name in sorted(ours.keys() | theirs)
    ]


def pairs_in_table(table: Path, predictions: Path, truths: Path, probabilities: Path | None = None) -> list[CasePair]:
    """Read pairs from a CSV table with the columns ``prediction`` and ``truth`` (also ``case``, ``probability``).

    Names are relative to the folders and may not leave them: a table comes from somewhere, a folder is chosen.

    Raises
    ------
    InputError : no such table, other columns, a name outside of its folder, or a case twice
    """
    pairs, names = [], set()
    for _line, row in read_table(table, "prediction", "truth"):
        files = [_inside(table, folder, row[key]) for folder, key in ((predictions, "prediction"), (truths, "truth"))]
        named = row.get("probability") and probabilities
        chance = _inside(table, probabilities, row["probability"]) if named else None
        name = row.get("case") or split_suffix(row["prediction"] or row["truth"])[0]
        if name in names:
            raise problem(table, f"the case {name!r} stands there twice", "every case once", "Add a column case")
        names.add(name)
        pairs.append(CasePair(name, *files, chance))
    return pairs


def _inside(table: Path, folder: Path, name: str | None) -> Path | None:
    if not name:
        return None
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise problem(table, f"{name!r} lies outside of {folder}", "a file in that folder", "Correct the table")
    return path


@dataclass(frozen=True)
class CaseResults:
    """What came of many cases.

    Parameters
    ----------
    cases : evaluation of each case that could be measured
    failed : one line for each that could not
    """

    cases: Mapping[str, Evaluation] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    settings: Settings = field(default_factory=Settings)

    def to_dict(self) -> dict:
        """Return the object of ``evaluate --json`` for many cases; definitions and summary stand once."""
        cases = {name: found.to_dict() for name, found in self.cases.items()}
        for content in cases.values():
            del content["definitions"]
        return {
            "cases": cases,
            "failed": dict(self.failed),
            "summary": summary(self),
            "definitions": definitions(self.settings),
        }

    def rows(self) -> Iterator[dict[str, object]]:
        """Yield a row for each case and scope (overall, structure, level), and one for each failed case."""
        for name, found in self.cases.items():
            scopes = ("overall", {"overall": found.overall}), ("structure", found.structures), ("level", found.levels)
            for scope, entries in scopes:
                for structure, values in entries.items():
                    yield {"case": name, "scope": scope, "structure": structure, **values}
        for name, line in self.failed.items():
            yield {"case": name, "scope": "failed", "error": line}


def evaluate_cases(
    pairs: Sequence[CasePair],
    measure: Callable[[CasePair], Evaluation],
    *,
    settings: Settings | None = None,
    report: Progress = silent,
) -> CaseResults:
    """Measure pair after pair; one that fails is noted and the rest go on.

    Parameters
    ----------
    measure : reads the files of a pair and evaluates them; nothing but its numbers is kept
    report : told about every case

    Raises
    ------
    Cancelled : by `report`
    """
    cases, failed = {}, {}
    for number, pair in enumerate(pairs):
        report(number, len(pairs), pair.name)
        lacking = [side for side in ("prediction", "truth") if getattr(pair, side) is None]
        if lacking:
            failed[pair.name] = f"there is no {lacking[0]} of this name"
            continue
        try:
            cases[pair.name] = measure(pair)
        except Cancelled:
            raise
        except InputError as error:
            failed[pair.name] = str(error)
        except Exception as error:
            # Whatever is wrong with one case, the numbers of hundreds of others are not to be lost with it.
            failed[pair.name] = " ".join(f"internal error ({type(error).__name__}: {error})"[:300].split())
    report(len(pairs), len(pairs), "done")
    return CaseResults(cases, failed, settings or Settings())


def summary(results: CaseResults) -> dict:
    """Return mean, standard deviation (n - 1), median, extremes and number of every metric over the cases."""
    found = list(results.cases.values())
    return {
        "cases": len(results.cases),
        "failed": len(results.failed),
        "overall": _summed([one.overall for one in found]),
        "structures": _by_name([one.structures for one in found]),
        "levels": _by_name([one.levels for one in found]),
        "instances": {kind: _averaged(levels) for kind, levels in instances_by_level(results).items()},
        "vertebrae": _vertebrae(found),
    }


def _by_name(entries: Sequence[Mapping[str, Values]]) -> dict[str, dict]:
    names = dict.fromkeys(name for one in entries for name in one)
    in_order = sorted(names, key=lambda name: structure_named(name).order)
    return {name: _summed([one[name] for one in entries if name in one]) for name in in_order}


def _summed(rows: Sequence[Values]) -> dict[str, dict[str, float | int | None]]:
    keys = dict.fromkeys(key for row in rows for key, value in row.items() if isinstance(value, int | float))
    sums = {}
    for key in keys:
        values = [row[key] for row in rows if row.get(key) is not None]
        sums[key] = {
            "mean": statistics.fmean(values),
            "sd": statistics.stdev(values) if len(values) > 1 else None,
            "median": statistics.median(values),
            "min": min(values),
            "max": max(values),
            "n": len(values),
        }
    return sums


def instances_by_level(results: CaseResults) -> dict[str, dict[str, Instances]]:
    """Return, by kind of structure and level, how many of the truth's were found in all cases together (SpineFM)."""
    dice: dict[str, dict[str, list[float]]] = {}
    for found in results.cases.values():
        for name, values in found.structures.items():
            structure = structure_named(name)
            if structure.level and structure.kind in found.instances and values["voxels_truth"]:
                dice.setdefault(structure.kind, {}).setdefault(structure.level, []).append(values["dice"])
    limit = results.settings.identified_dice
    return {
        kind: {
            level: count_instances(levels[level], identified_dice=limit)
            for level in sorted(levels, key=lambda level: structure_named(level.partition("/")[0]).order)
        }
        for kind, levels in dice.items()
    }


def _vertebrae(found: Sequence[Evaluation]) -> dict[str, dict]:
    """Return, by kind, the vertebrae of all cases together: level by level, and as a mean weighted by frequency."""
    kinds = dict.fromkeys(kind for one in found for kind in one.vertebrae)
    sums = {}
    for kind in kinds:
        several = [one.vertebrae[kind] for one in found if kind in one.vertebrae]
        all_right = [bool(each.each) and all(one.level_right for one in each.each) for each in several]
        content = together(several).to_dict()
        content["extra"] = len(content["extra"])
        del content["each"]
        sums[kind] = {**content, "cases": len(several), "cases_all_found_and_right": sum(all_right)}
    return sums


def _averaged(levels: Mapping[str, Instances]) -> dict:
    return {
        "levels": {level: found.to_dict() for level, found in levels.items()},
        "average": weighted(levels).to_dict(),
    }
