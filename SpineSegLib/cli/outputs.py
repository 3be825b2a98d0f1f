"""Output files of a segmentation: the suffix chooses the writer; all of them appear, or none."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from SpineSegLib.cli.about import About
from SpineSegLib.cli.console import held_back
from SpineSegLib.errors import InputError, problem
from SpineSegLib.image import Image, Segmentation
from SpineSegLib.io.suffixes import sidecar_of
from SpineSegLib.progress import Progress

LABELS = ".labels.png"
"""A picture of the labels alone, as paper 002's tool exports one; ``.png`` shows them on the image."""
SUFFIXES = (".seg.nrrd", ".nii.gz", ".mrb", LABELS, ".png")
DICOM = ".dcm"
TABLE = ".csv"
REPORTS = (".html", ".pdf")
KINDS = (*SUFFIXES, DICOM, TABLE, *REPORTS)
"""All suffixes that there is a writer for."""
_WITH_SIDECAR = (".nii.gz", LABELS)
"""Those that come with a file of the labels' names."""


def check_outputs(outputs: Sequence[Path], image: Path, *, suffixes: Sequence[str] = SUFFIXES) -> None:
    """Make sure, before any work, that every output can be written.

    Parameters
    ----------
    image : what is segmented; a DICOM segmentation refers to it
    suffixes : of the outputs that may be asked for here

    Raises
    ------
    InputError : an unknown suffix, a folder that is missing or cannot be written, a file named twice, or the input;
        a DICOM segmentation of what is no DICOM series of CT or MR
    """
    for number, path in enumerate(outputs):
        if not path.name.lower().endswith(tuple(suffixes)):
            raise problem(path, "an output of unknown kind", " or ".join(suffixes), "Change its suffix")
        if path.is_dir():
            raise problem(path, "this is a folder", "the name of a file", "Add a file name")
        if path in outputs[:number]:
            raise problem(path, "the same output twice", "different files", "Name it once")
        if path.exists() and image.exists() and path.samefile(image):
            raise problem(path, "the output is the image itself", "another file", "Choose another name")
    for folder in {path.parent: None for path in outputs}:
        with _staging(folder):
            pass
    if any(path.name.lower().endswith(DICOM) for path in outputs):
        from SpineSegLib.io.dicom_seg_writing import check_source

        check_source(image)


def check_sidecars(outputs: Sequence[Path]) -> None:
    """Make sure, before any work, that the names of a label map's numbers have room beside it.

    Raises
    ------
    InputError : a file that is not ours is there
    """
    labelled = [path for path in outputs if path.name.lower().endswith(_WITH_SIDECAR)]
    if labelled:
        from SpineSegLib.io.label_maps import kept_in_sidecar

        for path in labelled:
            kept_in_sidecar(sidecar_of(path))


def write_outputs(
    image: Image,
    segmentation: Segmentation,
    outputs: Sequence[Path],
    report: Progress,
    about: About | None = None,
) -> list[str]:
    """Write a segmentation to every output: all appear when the last is complete, or none does.

    Parameters
    ----------
    about : what a DICOM segmentation, a table or a report tells beside the voxels; needed for these

    Returns
    -------
    Warnings in words: what a format could not keep.

    Raises
    ------
    InputError : an output cannot be written
    """
    from SpineSegLib.io import all_written_whole

    warnings: list[str] = []
    with contextlib.ExitStack() as stack:
        stages = {path.parent: stack.enter_context(_staging(path.parent)) for path in outputs}
        for number, path in enumerate(outputs):
            report(number, len(outputs), f"writing {path.name}")
            beside = sidecar_of(path)
            if path.name.lower().endswith(_WITH_SIDECAR) and beside.is_file():
                # What another program keeps there stays, and is not known to the writer elsewhere.
                shutil.copyfile(beside, stages[path.parent] / beside.name)
            try:
                warnings += _write(image, segmentation, stages[path.parent] / path.name, about)
            except InputError as error:
                raise InputError(str(error).replace(str(stages[path.parent]), str(path.parent))) from error
        report(len(outputs), len(outputs), "finishing")
        # A writer may make files beside its own, such as the names of a label map's numbers.
        files = [(file, folder / file.name) for folder, stage in stages.items() for file in sorted(stage.iterdir())]
        with all_written_whole(*(target for _, target in files)) as temporaries:
            for (file, _), temporary in zip(files, temporaries, strict=True):
                file.replace(temporary)
    return warnings


def _write(image: Image, segmentation: Segmentation, path: Path, about: About | None) -> tuple[str, ...]:
    suffix = next(suffix for suffix in KINDS if path.name.lower().endswith(suffix))
    if suffix in (DICOM, TABLE, *REPORTS):
        if about is None:
            msg = f"{suffix} needs to know more than the voxels: give `about`"
            raise ValueError(msg)
        about.write(image, segmentation, path, suffix)
    elif suffix == ".mrb":
        from SpineSegLib.mrml import write_scene

        with held_back():
            write_scene(image, segmentation, path)
    elif suffix == ".png":
        from SpineSegLib.io import write_overlay

        write_overlay(image, segmentation, path)
    else:
        from SpineSegLib.io import write_segmentation

        return write_segmentation(segmentation, path)
    return ()


@contextlib.contextmanager
def _staging(folder: Path):
    """Yield a temporary folder within `folder`, so that finished files only have to be renamed."""
    if not folder.is_dir():
        raise problem(folder, "there is no such folder", "an existing folder for the output", "Make the folder first")
    try:
        stage = tempfile.TemporaryDirectory(prefix=".spineseg-", dir=folder)
    except OSError as error:
        found = f"nothing can be written here ({error.strerror})"
        raise problem(folder, found, "a folder with room that you may write to", "Choose another folder") from error
    with stage as path:
        yield Path(path)
