"""What ``evaluate`` prints for people: a few of the metrics, with their definitions; --json and --csv have all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from SpineSegLib.cli.console import table

if TYPE_CHECKING:
    from SpineSegLib.evaluation import Evaluation
    from SpineSegLib.evaluation.cases import CaseResults
    from SpineSegLib.evaluation.metrics import Metric, Settings

_SHOWN = ("dice", "iou", "volumetric_similarity", "sensitivity", "precision", "boundary_iou")
_SHOWN_IN_UNIT = ("hd95", "hausdorff", "assd", "nsd")


def text_of(found: Evaluation, settings: Settings) -> str:
    """Return one case as a table: overall and each structure."""
    metrics = _metrics(settings, "mm" if "hd95_mm" in found.overall else "px")
    rows = [["structure", *_titles(metrics), ""]]
    for name, values in (("overall", found.overall), *found.structures.items()):
        note = values.get("in") or ("union of several" if "union of" in values else "")
        rows.append([name, *(_number(values[metric.key], metric) for metric in metrics), note])
    instances = {kind: of_kind.to_dict() for kind, of_kind in found.instances.items()}
    vertebrae = {kind: of_kind.to_dict() for kind, of_kind in found.vertebrae.items()}
    return _page(rows, instances, vertebrae, metrics)


def text_of_many(results: CaseResults, settings: Settings) -> str:
    """Return many cases as a table: each case overall, then means and standard deviations."""
    from SpineSegLib.evaluation.cases import summary

    sums = summary(results)
    spaced = results.cases and all("hd95_mm" in found.overall for found in results.cases.values())
    metrics = _metrics(settings, "mm" if spaced else "px")
    rows = [["case", *_titles(metrics)]]
    for name, found in results.cases.items():
        rows.append([name, *(_number(found.overall[metric.key], metric) for metric in metrics)])
    for name, values in (("overall", sums["overall"]), *sums["structures"].items()):
        rows.append([f"{name}, mean ± SD", *(_mean(values.get(metric.key), metric) for metric in metrics)])
    instances = {kind: levels["average"] for kind, levels in sums["instances"].items()}
    return (
        _page(rows, instances, sums["vertebrae"], metrics)
        + f"\n{sums['cases']} cases measured, {sums['failed']} failed"
    )


def _page(
    rows: list[list[str]],
    instances: Mapping[str, Mapping],
    vertebrae: Mapping[str, Mapping],
    metrics: list[Metric],
) -> str:
    lines = [table(rows, right=range(1, len(metrics) + 1)), ""]
    for kind, found in instances.items():
        located, overall = ("-" if found[key] is None else f"{found[key]:.4f}" for key in _INSTANCE_DICE)
        share = f"{kind}: {found['identified_percent']:.1f} % of {found['count']} identified"
        lines.append(f"{share}, located Dice {located}, overall Dice {overall}")
    lines += [_vertebrae_line(kind, found) for kind, found in vertebrae.items()]
    return "\n".join([*lines, *(f"{metric.title}: {metric.definition}" for metric in metrics)])


def _vertebrae_line(kind: str, found: Mapping) -> str:
    located, overall = ("-" if found[key] is None else f"{found[key]:.4f}" for key in _INSTANCE_DICE)
    right = found["levels_right_percent"]
    extra = found["extra"] if isinstance(found["extra"], int) else len(found["extra"])
    return (
        f"{kind}, matched by place: {found['identified_percent']:.1f} % of {found['count']} found, located Dice "
        f"{located}, overall Dice {overall}, level right in {'-' if right is None else f'{right:.1f} %'}, "
        f"{extra} without a partner"
    )


_INSTANCE_DICE = ("located_dice", "overall_dice")


def _metrics(settings: Settings, unit: str) -> list[Metric]:
    from SpineSegLib.evaluation.metrics import described

    shown = [*_SHOWN, *(f"{distance}_{unit}" for distance in _SHOWN_IN_UNIT)]
    by_key = {metric.key: metric for metric in described(settings)}
    return [by_key[key] for key in shown]


def _titles(metrics: list[Metric]) -> list[str]:
    return [metric.title + ("" if metric.unit == "1" else f" {metric.unit}") for metric in metrics]


def _number(value: float | None, metric: Metric) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if metric.unit == "1" else f"{value:.2f}"


def _mean(values: Mapping | None, metric: Metric) -> str:
    if not values:
        return "-"
    spread = "" if values["sd"] is None else f" ± {_number(values['sd'], metric)}"
    return _number(values["mean"], metric) + spread
