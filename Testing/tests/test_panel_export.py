"""The panel's section 'Export' with the real worker process: every button, and what goes wrong."""

from pathlib import Path

import numpy as np
import pytest
from dicom_writing import write_series

from SpineSegLib.anatomy import Structure
from SpineSegLib.image import Segmentation
from SpineSegLib.io import read_image, read_segmentation

WAIT = 240


@pytest.fixture
def section(panel):
    return panel.sections["Export"]


class Database:
    """What the panel asks Slicer's DICOM database."""

    def __init__(self, files: dict[str, Path]):
        self.files = files

    def fileForInstance(self, uid: str) -> str:
        return str(self.files.get(uid, ""))

    def instanceValue(self, uid: str, tag: str) -> str:
        return {"0008,0060": "CT"}.get(tag, "")


@pytest.fixture
def scan(scene, oblique, tmp_path, monkeypatch):
    """A CT of the DICOM database on an oblique grid, its series on the disk, and a segmentation of it."""
    import pydicom
    import slicer

    stored = np.random.default_rng(0).integers(0, 3000, oblique.shape).astype(np.uint16)
    series = tmp_path / "series"
    write_series(series, oblique, stored)
    files = {str(pydicom.dcmread(file).SOPInstanceUID): file for file in sorted(series.iterdir())}
    monkeypatch.setattr(slicer, "dicomDatabase", Database(files), raising=False)
    image = read_image(series)
    volume = slicer.util.addVolumeFromArray(image.array, ijkToRAS=image.geometry.ijk_to_ras, name="Doe^Jane")
    volume.SetAttribute("DICOM.instanceUIDs", " ".join(files))
    return volume


@pytest.fixture
def film(scene):
    import slicer

    values = np.random.default_rng(0).integers(0, 4000, (1, 60, 50)).astype(np.int16)
    return slicer.util.addVolumeFromArray(values, ijkToRAS=np.diag([-0.5, -0.5, 1, 1]), name="Film")


def choose(panel, volume) -> None:
    """Give the volume a segmentation, and choose both."""
    from SpineSegLib.mrml import show_segmentation
    from SpineSegLib.mrml.geometry import volume_geometry

    grid = volume_geometry(volume)
    mask = np.zeros(grid.shape, bool)
    mask[..., 3:9, 4:11] = True
    labels = Segmentation.from_masks({Structure("vertebra", "L1"): mask}, grid)
    parameters = panel.logic.getParameterNode()
    parameters.inputVolume = volume
    parameters.outputSegmentation = show_segmentation(labels, volume, name="Result", surface=False)


def click(host, section, button, path, monkeypatch) -> str:
    """Click, name the file in the dialog, wait for the end, and return the status."""
    import qt

    asked = []
    monkeypatch.setattr(qt.QFileDialog, "getSaveFileName", lambda *arguments: asked.append(arguments) or str(path))
    assert button.enabled, button.toolTip
    button.click()
    host.wait_until(lambda: not section.busy, timeout=WAIT)
    assert "Doe" not in asked[0][2]
    return section.ui.exportStatusLabel.text


def test_a_ct_leaves_as_dicom_where_it_lies_in_the_patient(panel, section, scan, slicer_host, tmp_path, monkeypatch):
    choose(panel, scan)
    out = tmp_path / "series" / "seg.dcm"
    status = click(slicer_host, section, section.ui.dicomButton, out, monkeypatch)
    assert "seg.dcm" in status, status
    found = read_segmentation(out)
    mask = np.zeros(found.geometry.shape, bool)
    mask[..., 3:9, 4:11] = True
    assert np.array_equal(found.mask("L1"), mask)


def test_a_radiograph_leaves_as_pictures_table_and_report(panel, section, film, slicer_host, tmp_path, monkeypatch):
    choose(panel, film)
    ui = section.ui
    assert not ui.dicomButton.enabled
    ui.caseLineEdit.text = "Case 9"
    # The user need not type the suffix.
    for button, name, written in (
        (ui.labelsButton, "a", "a.labels.png"),
        (ui.reportButton, "b.html", "b.html"),
        (ui.csvButton, "c.csv", "c.csv"),
    ):
        status = click(slicer_host, section, button, tmp_path / name, monkeypatch)
        assert written in status, status
        assert (tmp_path / written).is_file()
    page = (tmp_path / "b.html").read_text(encoding="utf-8")
    assert "Case 9" in page and "L1" in page
    assert read_segmentation(tmp_path / "a.labels.png").foreground.sum() == 6 * 7
    assert not panel.logic.busy and not section.ui.exportProgressBar.visible


def test_a_volume_moved_by_a_transform_is_no_longer_that_of_its_series(
    panel, section, scan, slicer_host, tmp_path, monkeypatch, scene
):
    import slicer

    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = np.eye(4)
    matrix[:3, 3] = (0.3, 0.4, 5)
    slicer.util.updateTransformMatrixFromArray(transform, matrix)
    scan.SetAndObserveTransformNodeID(transform.GetID())
    choose(panel, scan)
    status = click(slicer_host, section, section.ui.dicomButton, tmp_path / "seg.dcm", monkeypatch)
    assert "remove transforms" in status
    assert not (tmp_path / "seg.dcm").exists()


def test_nothing_happens_without_a_file_or_a_result(panel, section, film, monkeypatch):
    import qt

    panel.logic.getParameterNode().inputVolume = film
    buttons = [button for button in vars(section.ui).values() if isinstance(button, qt.QPushButton)]
    assert len(buttons) == 6
    assert not any(button.enabled for button in buttons) and all(button.toolTip for button in buttons)
    choose(panel, film)
    monkeypatch.setattr(qt.QFileDialog, "getSaveFileName", lambda *arguments: "")
    section.ui.csvButton.click()
    assert not section.busy


def test_a_run_is_forgotten_when_the_scene_is_closed(panel, section, film, tmp_path, monkeypatch, scene):
    import qt

    choose(panel, film)
    monkeypatch.setattr(qt.QFileDialog, "getSaveFileName", lambda *arguments: str(tmp_path / "a.csv"))
    section.ui.csvButton.click()
    assert section.busy and section.ui.csvButton.text == "Cancel"
    scene.Clear(0)
    assert not section.busy and section.ui.csvButton.text == "&Table"
    assert not (tmp_path / "a.csv").exists()
