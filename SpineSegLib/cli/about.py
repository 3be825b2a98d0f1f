"""What files tell of a segmentation beside its voxels: where it comes from, what made it, how good it is, and when."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from SpineSegLib.image import Image, Segmentation
from SpineSegLib.io.origin import Origin


@dataclass(frozen=True)
class About:
    """What a DICOM segmentation, a table or a report tells beside the voxels.

    Parameters
    ----------
    source : what the image was read from; a DICOM segmentation refers to it
    origin : what made the segmentation
    rows : a dictionary a segment, in the segmentation's order, as ``segment --json`` lists them
    date : as it is to be printed
    case : a name of the user's own choice for the report
    evaluation : what ``evaluate --json`` prints, if there is a truth
    warnings : of the run
    """

    source: Path
    origin: Origin = field(default_factory=Origin)
    rows: Sequence[Mapping] = ()
    date: str = ""
    case: str = ""
    evaluation: Mapping | None = None
    warnings: Sequence[str] = ()

    def write(self, image: Image, segmentation: Segmentation, path: Path, suffix: str) -> None:
        """Write a ``.dcm``, ``.csv``, ``.html`` or ``.pdf``.

        Raises
        ------
        InputError : the source is no DICOM series, or the segmentation lies elsewhere
        """
        from SpineSegLib.evaluation.report import html_page, make_report, with_metrics, write_pdf, write_table

        if suffix == ".dcm":
            from SpineSegLib.io.dicom_seg_writing import write_dicom_seg

            write_dicom_seg(segmentation, path, self.source, origin=self.origin)
            return
        rows = with_metrics(self.rows, self.evaluation)
        if suffix == ".csv":
            write_table(rows, path)
            return
        report = make_report(
            image,
            segmentation,
            rows,
            origin=self.origin,
            date=self.date,
            case=self.case,
            evaluation=self.evaluation,
            warnings=self.warnings,
        )
        if suffix == ".pdf":
            write_pdf(report, path)
        else:
            path.write_text(html_page(report), encoding="utf-8")


def add_report_options(parser: argparse.ArgumentParser) -> None:
    """Add what a report says that the image and the segmentation do not."""
    parser.add_argument("--date", metavar="YYYY-MM-DD", help="date on the report; today unless given")
    parser.add_argument(
        "--case", default="", metavar="TEXT", help="name of the case on the report; none unless given, nor a file's"
    )


def origin_of(model: str | None, weights: str | None, sha256: str | None = None) -> Origin:
    """Return what made a segmentation.

    Parameters
    ----------
    model : its name; nothing is known without
    weights : the file of its weights; the model's own unless given
    sha256 : of the weights, where it is known already; empty where it is known that nobody knows

    Raises
    ------
    InputError : there is no such model, or it has no weights
    """
    if model is None:
        return Origin()
    from SpineSegLib.models import card, weights_file
    from SpineSegLib.models.weights import file_sha256

    found = card(model)
    if sha256 is not None:
        return Origin(found.name, found.title, sha256 or None)
    return Origin(found.name, found.title, file_sha256(weights_file(found, weights)))
