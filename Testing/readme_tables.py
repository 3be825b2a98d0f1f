"""Write the README's tables of weights and of networks from the model cards and ``alike.json``: no number is typed.

    python3 Testing/run.py python Testing/readme_tables.py

Each table lies between ``<!-- NAME -->`` and ``<!-- /NAME -->``; a test holds that they are those of the cards.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "Testing"))

from alike import read_plan, read_results  # noqa: E402
from alike_text import alike_text, columns  # noqa: E402

from SpineSegLib.models import Card, registry  # noqa: E402

POOLED = "dice_of_all_pixels_together"

README = ROOT / "README.md"
PAPERS = {
    "10.3389/fbioe.2025.1733689": 1,
    "10.48550/arXiv.2411.00326": 2,
    "10.1177/20552076251347695": 3,
    "10.1038/s41598-025-95243-z": 4,
}
"""Doi of a paper -> its number in the README's list; the paper without a doi is the fifth."""


def table(head: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int] = ()) -> str:
    """Return a Markdown table; columns numbered in `right` are aligned to the right."""
    rule = ["---:" if number in set(right) else "---" for number in range(len(head))]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rule, *rows))


def weights_table() -> str:
    """Return the bundled weights: what they find, in what, learnt from what, how well, by which command."""
    rows = []
    for card in registry().values():
        if not card.weights.bundled:
            continue
        training = card.weights.training
        names = [f"{item['name']} ({item['licence']})" for item in training["data"]]
        by_case = {}
        for score in card.weights.scores:
            by_case.setdefault((score["structure"], score["case"]), {})[score["metric"]] = score["value"]
        scores = [f"{structure}, {case}: {_score(values)}" for (structure, case), values in by_case.items()]
        rows.append(
            [
                f"`{card.name}`",
                f"{', '.join(structure.name for structure in card.structures)}: {_images(card)}",
                "; ".join(names),
                "<br>".join(scores),
                f"{card.weights.bytes / 2**20:.1f} MiB, {card.weights.licence}",
                f"`{training['command'].removeprefix('python -m SpineSegLib ')}`",
            ]
        )
    return table(
        ["weights", "find", "trained on (licence)", "Dice, measured by `evaluate`", "size, licence", "made by"], rows
    )


def _score(values: dict[str, float]) -> str:
    if "located_dice" in values:
        levels = f", levels right {values['levels_right_percent']:.1f} %" if "levels_right_percent" in values else ""
        return f"**{values['located_dice']:.2f}**, found {values['identified_percent']:.1f} %{levels}"
    return f"**{values['dice']:.2f}**" + (f" (all pixels together {values[POOLED]:.2f})" if POOLED in values else "")


def networks_table() -> str:
    """Return all networks of the papers: size and work, ours and as printed, time, and Dice of narrow variants."""
    rows, plan = [], read_plan()
    results = read_results(plan)
    for card in sorted(registry().values(), key=lambda card: (_paper(card), card.name)):
        counts, printed = card.network["counts"], (card.paper or {}).get("reported") or {}
        size = "×".join(str(side) for side in card.input["size"])
        rows.append(
            [
                f"`{card.name}`",
                str(_paper(card)),
                _images(card),
                f"{counts['parameters'] / 1e6:.2f}",
                f"{printed['parameters'] / 1e6:.2f}" if "parameters" in printed else "–",
                f"{counts['multiply_adds'] / 1e9:.2f} at {size}",
                f"{printed['multiply_adds'] / 1e9:.2f}" if "multiply_adds" in printed else "–",
                *columns(card.name, plan, results),
                "bundled" if card.weights.bundled else "none yet",
            ]
        )
    head = ["model", "paper", "for", "M parameters", "printed", "G multiply-adds", "printed", "ms"]
    return table([*head, "Dice, narrow (M)", "weights"], rows, right=(3, 4, 5, 6, 7))


def _paper(card: Card) -> int:
    return PAPERS.get((card.paper or {}).get("doi"), 5)


def _images(card: Card) -> str:
    kind = {"XR": "radiographs", "CT": "CT", "MR": "MR"}
    return " ".join([", ".join(card.view), " and ".join(kind[modality] for modality in card.modality)]).strip()


TABLES = {"weights": weights_table, "networks": networks_table, "alike": alike_text}


def with_tables(text: str) -> str:
    """Return a README with its tables made anew."""
    for name, make in TABLES.items():
        start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        before, _, rest = text.partition(start)
        _, found, after = rest.partition(end)
        if not found:
            msg = f"README.md has no {start} … {end}"
            raise ValueError(msg)
        text = f"{before}{start}\n{make()}\n{end}{after}"
    return text


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")
