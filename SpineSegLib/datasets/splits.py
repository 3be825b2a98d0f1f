"""Which cases train, choose and test: by patient, the same on every machine, written to a file.

The papers' splits, as `split_cases` takes them:

=============  ==================================================================================================
CervSpineNet   ``{"shares": [0.8, 0.2]}``: training, test. It chose its checkpoint on the test cases, which is a leak;
               add ``"validation": 0.1`` to choose on cases of their own
LinkNet-152    ``{"shares": [0.8, 0.2]}``; CVM-UNet the same
YOLO-UNet      ``{"shares": [0.6, 0.2, 0.2]}``: training, validation, test; or ``{"folds": 5}``
SpineFM        ``{"shares": {"training": 0.7, "test": 0.15, "validation": 0.15}}`` (it names the test part second)
=============  ==================================================================================================

A split file is a JSON object with the lists of names ``training``, ``validation`` and ``test``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from math import isclose
from pathlib import Path

from SpineSegLib.datasets.cases import Case
from SpineSegLib.errors import problem
from SpineSegLib.io import written_whole
from SpineSegLib.io.mappings import load_json

_WAYS = '{"shares": [0.8, 0.2]}, {"folds": 5} or {"file": "split.json"}'
_CORRECT = "Correct the recipe's split"


@dataclass(frozen=True)
class Split:
    """Names of the cases of each part; a case stands in one part at most.

    Parameters
    ----------
    training : what the weights are fitted to
    validation : what the checkpoint, the stopping and the hyper-parameters are chosen on
    test : what is reported; nothing is chosen on it
    """

    training: tuple[str, ...]
    validation: tuple[str, ...] = ()
    test: tuple[str, ...] = ()


PARTS = tuple(field.name for field in fields(Split))


def split_cases(cases: Sequence[Case], how: Mapping[str, object], *, seed: int, fold: int | None = None) -> Split:
    """Split cases so that no patient is in two parts.

    Patients are put in an order that only the seed and their names decide, and go one by one to the part that lacks
    most cases; so the parts hold the wanted shares of cases as nearly as whole patients allow. A patient that joins
    the set leaves the order of the others as it was.

    Parameters
    ----------
    cases : of one data set, in any order
    how : one of

        - ``{"shares": [training, test]}`` or ``{"shares": [training, validation, test]}``, or the same as a mapping
          from part to share; the shares add up to 1
        - ``{"folds": n}``: part `fold` of n equal ones is the test part, the rest is for training
        - ``{"file": path}``: a file of `write_split`

        The first two may also have ``"validation": share``: that share of the training patients' cases becomes the
        validation part (0 unless given, as the papers with two parts have none).
    seed : decides who is where
    fold : 0 to n - 1, with ``folds`` only

    Raises
    ------
    InputError : `how` is none of these, there are fewer patients than parts, or two cases have one name
    """
    _known(cases)
    ways = {"shares", "folds", "file"} & set(how)
    unknown = set(how) - {"shares", "folds", "file", "validation"}
    if len(ways) != 1 or unknown or ("file" in how and "validation" in how):
        raise problem("split", f"{dict(how)}", _WAYS, _CORRECT)
    if ("folds" in how) != (fold is not None):
        found = "folds without the number of one" if "folds" in how else f"fold {fold} of a split without folds"
        raise problem("split", found, "a fold exactly where there are folds", "Name the fold, or correct the split")
    if "file" in how:
        return read_split(Path(str(how["file"])), cases)
    if "folds" in how:
        parts = _one_fold(cases, how["folds"], fold, seed)
    else:
        parts = _by_shares(cases, _shares(how["shares"]), seed)
    held_out = _share(how.get("validation", 0.0), "validation")
    if held_out:
        if parts.get("validation"):
            raise problem("split", "two validation shares", "one", _CORRECT)
        rest = {"training": 1 - held_out, "validation": held_out}
        parts |= _by_shares(parts["training"], rest, seed)
    return Split(**{part: tuple(sorted(case.name for case in chosen)) for part, chosen in parts.items()})


def write_split(split: Split, path: str | Path) -> None:
    """Write a split as JSON, whole or not at all; it holds names of cases and nothing else.

    Raises
    ------
    InputError : the file cannot be written
    """
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(asdict(split), indent=1) + "\n", encoding="utf-8", newline="\n")


def read_split(path: str | Path, cases: Sequence[Case]) -> Split:
    """Read a split file and check it against the cases.

    Cases that stand in no part are left out: that is how a part of a set is used.

    Raises
    ------
    InputError : no such file, it is no split, it names a case that is not there or twice, or it puts cases of one
        patient in two parts
    """
    path = Path(path)
    try:
        content = load_json(path.read_text(encoding="utf-8"), path)
    except OSError as error:
        raise problem(path, error.strerror or "it cannot be read", "a split file", "Check the path") from None
    except ValueError:
        content = None
    if not (
        isinstance(content, dict)
        and set(content) <= set(PARTS)
        and content.get("training")
        and all(isinstance(names, list) and all(isinstance(n, str) for n in names) for names in content.values())
    ):
        expected = f"a JSON object with the lists of names {', '.join(PARTS)}"
        raise problem(path, "this is no split", expected, "Write one with SpineSegLib.datasets.splits.write_split")
    split = Split(**{part: tuple(names) for part, names in content.items()})
    _check(split, cases, path)
    return split


def _check(split: Split, cases: Sequence[Case], where: Path) -> None:
    patients = _known(cases)
    part_of_name: dict[str, str] = {}
    part_of_patient: dict[str, str] = {}
    for part in PARTS:
        for name in getattr(split, part):
            if name not in patients:
                raise problem(where, f"{part} names {name!r}", "names of cases in the data", "Check --data or the file")
            if name in part_of_name:
                found = f"{name!r} stands in {part_of_name[name]} and in {part}"
                raise problem(where, found, "every case once", "Take it out of one")
            part_of_name[name] = part
            # Not the patient but the case is named: identities do not belong in logs.
            if part_of_patient.setdefault(patients[name], part) != part:
                found = f"the patient of {name!r} is in {part_of_patient[patients[name]]} and in {part}"
                raise problem(where, found, "every patient in one part", "Move the patient's cases together")


def _known(cases: Sequence[Case]) -> dict[str, str]:
    """Return name -> patient; a doubled name is an error."""
    patients: dict[str, str] = {}
    for case in cases:
        if case.name in patients:
            raise problem("data", f"two cases named {case.name!r}", "names that differ", "Rename one of them")
        patients[case.name] = case.patient
    return patients


def _by_patient(cases: Sequence[Case], seed: int) -> list[list[Case]]:
    """Return each patient's cases, in an order of patients that a hash of seed and patient gives.

    A hash and not a generator: it is the same with every version of NumPy, and whatever the order of listing.
    """
    groups: dict[str, list[Case]] = {}
    for case in cases:
        groups.setdefault(case.patient, []).append(case)
    order = sorted(groups, key=lambda patient: (sha256(f"{seed}:{patient}".encode()).digest(), patient))
    return [groups[patient] for patient in order]


def _by_shares(cases: Sequence[Case], shares: Mapping[str, float], seed: int) -> dict[str, list[Case]]:
    """Give each patient to the part that lacks most cases; no part with a share stays empty."""
    patients = _by_patient(cases, seed)
    parts: dict[str, list[Case]] = {part: [] for part, share in shares.items() if share > 0}
    if len(patients) < len(parts):
        found = f"{len(patients)} patient{'s' * (len(patients) != 1)} for {' and '.join(parts)}"
        raise problem("split", found, "at least one patient a part", "Add data, or ask for fewer parts")
    wanted = {part: shares[part] * len(cases) for part in parts}
    for number, group in enumerate(patients):
        empty = [part for part in parts if not parts[part]]
        open_parts = empty if len(patients) - number <= len(empty) else list(parts)
        # max takes the first of equals: training before validation before test.
        parts[max(open_parts, key=lambda part: wanted[part] - len(parts[part]))] += group
    return parts


def _one_fold(cases: Sequence[Case], count: object, fold: int | None, seed: int) -> dict[str, list[Case]]:
    if not isinstance(count, int) or count < 2:
        raise problem("split", f"{count!r} folds", "a whole number from 2", _CORRECT)
    if not 0 <= fold < count:
        raise problem("split", f"fold {fold}", f"0 to {count - 1}", "Choose one of the folds")
    names = [str(number) for number in range(count)]
    parts = _by_shares(cases, dict.fromkeys(names, 1 / count), seed)
    training = [case for name in names if name != str(fold) for case in parts[name]]
    return {"training": training, "test": parts[str(fold)]}


def _shares(given: object) -> dict[str, float]:
    if isinstance(given, Mapping):
        if not set(given) <= set(PARTS):
            raise problem("split", f"shares of {', '.join(map(str, given))}", f"of {', '.join(PARTS)}", _CORRECT)
        named = {part: given[part] for part in PARTS if part in given}
    elif isinstance(given, Sequence) and not isinstance(given, str) and len(given) in (2, 3):
        named = dict(zip(PARTS if len(given) == 3 else ("training", "test"), given, strict=True))
    else:
        raise problem("split", f"shares {given!r}", "two or three numbers, or shares by part", _CORRECT)
    shares = {part: _share(value, part) for part, value in named.items()}
    if not shares.get("training") or not isclose(sum(shares.values()), 1, abs_tol=1e-6):
        raise problem("split", f"shares {given!r}", "some for training, all adding up to 1", _CORRECT)
    return shares


def _share(value: object, part: str) -> float:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not (number and 0 <= value <= 1) or (part == "validation" and value == 1):
        raise problem("split", f"a {part} share of {value!r}", "a number from 0 to 1", _CORRECT)
    return float(value)
