"""The panel's section 'Batch' with the real worker process, and series of a DICOM database."""

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from dicom_writing import CR, header, save, set_pixels, write_series
from standins import FILM_MODEL, small_ct, small_film

from SpineSegLib.errors import InputError
from SpineSegLib.io import read_segmentation, write_image

WAIT = 240


@pytest.fixture
def section(panel):
    return panel.sections["Batch"]


@pytest.fixture
def films(tmp_path):
    folder = tmp_path / "films"
    folder.mkdir()
    for name in ("a", "b"):
        write_image(small_film(), folder / f"{name}.png")
    return folder


def fill(panel, section, folder, out) -> None:
    section.ui.batchFolderPathLineEdit.currentPath = str(folder)
    section.ui.batchOutPathLineEdit.currentPath = str(out)
    panel.logic.getParameterNode().batchModel = FILM_MODEL
    section.setParameterNode(panel.logic.getParameterNode())


def columns(tableNode) -> dict[str, list[str]]:
    table = tableNode.GetTable()
    names = [table.GetColumnName(column) for column in range(table.GetNumberOfColumns())]
    return {
        name: [table.GetValueByName(row, name).ToString() for row in range(table.GetNumberOfRows())] for name in names
    }


def test_the_button_says_what_is_missing(panel, section, films, tmp_path):
    assert not section.ui.batchButton.enabled and "folder of the images" in section.ui.batchButton.toolTip
    section.ui.batchFolderPathLineEdit.currentPath = str(films)
    assert "folder of the results" in section.ui.batchButton.toolTip
    section.ui.batchOutPathLineEdit.currentPath = str(tmp_path / "out")
    assert section.ui.batchButton.enabled
    section.ui.batchSourceComboBox.currentIndex = 2
    assert not section.ui.batchButton.enabled and "DICOM" in section.ui.batchButton.toolTip
    assert section.ui.batchFolderLabel.isHidden() and not section.ui.selectionButton.isHidden()


def test_a_folder_with_a_damaged_film_ends_in_a_table_that_says_so(panel, section, films, slicer_host, tmp_path):
    (films / "b.png").write_text("this is no image")
    fill(panel, section, films, tmp_path / "out")
    section.ui.batchPicturesCheckBox.checked = section.ui.batchReportsCheckBox.checked = True
    section.ui.batchButton.click()
    assert not section.ui.batchReportsCheckBox.enabled
    assert section.busy and section.ui.batchButton.text == "Cancel"
    slicer_host.wait_until(lambda: not section.busy, timeout=WAIT)
    result = section.batcher.result
    assert (result.done, result.failed, result.waiting) == (1, 1, 0)
    found = columns(result.tableNode)
    assert found["case"] == ["a", "b"] and found["state"] == ["done", "failed"] and "b.png" in found["error"][1]
    assert "done: 1, failed: 1" in section.ui.batchStatusLabel.text
    assert section.ui.batchTableView.mrmlTableNode() is result.tableNode
    assert panel.logic.getParameterNode().batchResults is result.tableNode
    assert (tmp_path / "out" / "a.png").is_file()
    assert (tmp_path / "out" / "a.pdf").read_bytes().startswith(b"%PDF")
    assert read_segmentation(tmp_path / "out" / "a.seg.nrrd").geometry.shape == (1, 64, 48)
    assert section.ui.batchButton.text == "&Start" and section.ui.batchFolderPathLineEdit.enabled


class Process:
    """Stands in for the worker: works until the cancel file appears, and has written a table by then."""

    pid = 0

    def __init__(self, out: Path, states: list[str]):
        self.out, self.states, self.arguments = out, states, None

    def __call__(self, arguments, variables, onLine, onDone):
        import qt

        self.arguments = arguments
        cancelFile = Path(arguments[arguments.index("--cancel-file") + 1])

        def work():
            if cancelFile.exists():
                self.write()
                onDone(3)
                return
            onLine(json.dumps({"step": 100, "of": 300, "what": "case 2 of 3, b: segmenting (about 7 s left)"}))
            qt.QTimer.singleShot(5, work)

        qt.QTimer.singleShot(0, work)
        return self

    def write(self) -> None:
        self.out.mkdir(exist_ok=True)
        with (self.out / "batch.csv").open("w", encoding="utf-8", newline="") as file:
            rows = [(f"case {number}", state, 1.5) for number, state in enumerate(self.states)]
            csv.writer(file).writerows([("case", "state", "seconds"), *rows])


@pytest.fixture
def process(section, tmp_path):
    from SpineSegLib import mrml

    made = Process(tmp_path / "out", ["done", "waiting", "waiting"])
    section.batcher = mrml.Batcher(mrml.Worker(start=made, end=lambda pid: None))
    return made


def test_cancel_keeps_and_shows_what_is_finished(panel, section, films, process, slicer_host, tmp_path):
    fill(panel, section, films, tmp_path / "out")
    section.ui.batchButton.click()
    slicer_host.wait_until(lambda: "about 7 s left" in section.ui.batchStatusLabel.text)
    assert (section.ui.batchProgressBar.value, section.ui.batchProgressBar.maximum) == (100, 300)
    section.ui.batchButton.click()
    slicer_host.wait_until(lambda: not section.busy)
    result = section.batcher.result
    assert (result.state, result.done, result.waiting) == ("cancelled", 1, 2)
    assert "start again to go on" in section.ui.batchStatusLabel.text
    assert columns(result.tableNode)["state"] == ["done", "waiting", "waiting"]


def test_closing_the_scene_ends_the_batch_and_leaves_no_table(
    panel, section, films, process, slicer_host, scene, tmp_path
):
    import slicer

    fill(panel, section, films, tmp_path / "out")
    section.ui.batchButton.click()
    process.write()
    scene.Clear(0)
    assert not section.busy and slicer.util.getNodesByClass("vtkMRMLTableNode") == []
    assert "scene was closed" in section.ui.batchStatusLabel.text
    assert list(Path(slicer.app.temporaryPath).glob("SpineSeg-run-*")) == []


def test_the_choices_under_advanced_are_sent_as_far_as_they_apply(
    panel, section, films, process, slicer_host, tmp_path
):
    from SpineSegPanel.choices import Device, Modality

    fill(panel, section, films, tmp_path / "out")
    parameters = panel.logic.getParameterNode()
    parameters.device, parameters.modality = Device.CPU, Modality.XR
    section.ui.batchDicomCheckBox.checked = True
    section.ui.batchTruthsPathLineEdit.currentPath = str(films)
    section.ui.batchButton.click()
    section.ui.batchButton.click()
    slicer_host.wait_until(lambda: not section.busy)
    sent = process.arguments
    for option, value in (("--device", "cpu"), ("--modality", "XR"), ("--truth", str(films)), ("--model", FILM_MODEL)):
        assert sent[sent.index(option) + 1] == value
    assert [sent[n + 1] for n, part in enumerate(sent) if part == "--suffix"] == [".seg.nrrd", ".dcm"]
    assert "--top-level" not in sent  # this model gives no vertebrae to be counted


class Database:
    """What ctkDICOMDatabase answers, by its own names."""

    def __init__(self, series: dict[str, list[Path]]):
        self._series = series

    def filesForSeries(self, uid, hits=-1):
        return tuple(str(path) for path in self._series[uid])

    def fileValue(self, file, tag):
        import pydicom

        assert tag == "0008,0060"
        return pydicom.dcmread(file, stop_before_pixels=True).Modality

    def studiesForPatient(self, patient):
        return ("study 1", "study 2") if patient == "1" else ()

    def seriesForStudy(self, study):
        return tuple(self._series) if study == "study 1" else ()


@pytest.fixture
def database(scene, oblique, tmp_path, monkeypatch):
    """A CT, two films in one series, and a structured report."""
    import slicer

    (tmp_path / "db").mkdir()
    ct = write_series(tmp_path / "db" / "ct", oblique, small_ct(oblique).array + np.int16(1024))
    films = []
    for number in (1, 2):
        data = header(CR, "CR", 7, number)
        set_pixels(data, small_film().array[0])
        films.append(save(data, tmp_path / "db" / f"film{number}.dcm"))
    report = save(header(CR, "SR", 8, 1), tmp_path / "db" / "report.dcm")
    made = Database({"1.2.3": ct, "1.2.7": films, "1.2.8": [report]})
    monkeypatch.setattr(slicer, "dicomDatabase", made, raising=False)
    return made


def test_series_of_the_database_are_called_by_numbers_and_never_by_patients(database, tmp_path):
    from SpineSegLib.cli.batch_cases import cases_in_table, check_cases
    from SpineSegLib.mrml.batching import case_name, series_table

    table = tmp_path / "series.csv"
    folder = series_table(["1.2.3", "1.2.7", "1.2.8"], table)
    cases = cases_in_table(table, FILM_MODEL, folder=folder)
    check_cases(cases, tmp_path / "out", [".seg.nrrd"])
    assert [case.name for case in cases] == [
        case_name("1.2.3"),
        f"{case_name('1.2.7')}-1",
        f"{case_name('1.2.7')}-2",
    ]
    assert all(case.image.is_file() for case in cases)
    text = table.read_text(encoding="utf-8")
    assert "Doe" not in text and "4711" not in text
    # The same series has the same number, whatever else is selected.
    series_table(["1.2.3"], table)
    assert case_name("1.2.3") in table.read_text(encoding="utf-8")


def test_series_that_cannot_be_used_are_refused(database, tmp_path):
    from SpineSegLib.mrml.batching import case_name, series_table

    with pytest.raises(InputError, match="no image is selected"):
        series_table(["1.2.8"], tmp_path / "series.csv")
    Path(database.filesForSeries("1.2.3")[2]).unlink()
    with pytest.raises(InputError, match=f"{case_name('1.2.3')}: files of this series are gone"):
        series_table(["1.2.3"], tmp_path / "series.csv")


def test_the_selection_of_either_dicom_browser_is_taken(section, database, monkeypatch):
    import ctk
    import slicer

    kinds = SimpleNamespace(SeriesType=3, StudyType=2, PatientType=1)
    monkeypatch.setattr(ctk, "ctkDICOMModel", kinds, raising=False)
    tables = SimpleNamespace(selectedItems=lambda kind: {2: ("study 1",)}.get(kind, ()))
    shown = SimpleNamespace(selectedSeriesInstanceUIDs=lambda: ("1.2.7",), selectedPatientUIDs=lambda: ("1",))
    visual = SimpleNamespace(visible=False, patientView=lambda: shown)
    browser = SimpleNamespace(dicomBrowser=tables, dicomVisualBrowser=visual)
    instance = SimpleNamespace(browserWidget=browser)
    monkeypatch.setattr(slicer.modules, "DICOMInstance", instance, raising=False)
    section.ui.selectionButton.click()
    assert section._series == ["1.2.3", "1.2.7", "1.2.8"] and "3 series" in section.ui.selectionLabel.text
    visual.visible = True
    section.ui.selectionButton.click()
    assert section._series == ["1.2.7"]
    shown.selectedSeriesInstanceUIDs = tuple
    section.ui.selectionButton.click()
    assert len(section._series) == 3, "all series of the selected patient"
    instance.browserWidget = None
    section.ui.selectionButton.click()
    assert section._series == []
