"""The panel's section 'Weights' in the headless host, with the real worker process and with one of the tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODEL = "unet"
"""A model whose card states no weights."""


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A user without settings and without installed weights, on whichever system."""
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "APPDATA", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.delenv("SPINESEG_WEIGHTS", raising=False)
    return tmp_path / "home"


@pytest.fixture
def panel(home, scene, slicer_host):
    return slicer_host.open_widget(slicer_host.load_module(ROOT / "SpineSeg" / "SpineSeg.py"))


@pytest.fixture
def section(panel):
    """The section, unfolded."""
    found = panel.sections["Weights"]
    found.parent.collapsed = False
    return found


class Answering:
    """A worker process that answers at once: ``answers`` maps an action to what it prints and its exit status."""

    def __init__(self, section, answers: dict):
        from SpineSegLib import mrml

        self.answers, self.commands = answers, []
        section.keeper = mrml.WeightsKeeper(mrml.Worker(start=self.start, end=lambda pid: None))

    def start(self, command, variables, onLine, onDone):
        import qt

        arguments = command[command.index("SpineSegLib") + 2 :]
        self.commands.append(arguments[: arguments.index("--json")])
        dry = "--dry-run" in arguments
        text, status = self.answers[f"{arguments[0]} --dry-run" if dry else arguments[0]]
        onLine(text if isinstance(text, str) else json.dumps(text))
        qt.QTimer.singleShot(0, lambda: onDone(status))


def pick(section, name: str) -> None:
    section.ui.weightsTable.selectRow([row["name"] for row in section._rows].index(name))


def click(host, section, button) -> str:
    """Click, wait for the end, and return the status."""
    assert button.enabled, button.toolTip
    button.click()
    host.wait_until(lambda: not section.busy and not section.keeper.busy, timeout=240)
    return section.ui.weightsStatusLabel.text


def cell(section, name: str, column: int) -> str:
    number = [row["name"] for row in section._rows].index(name)
    return section.ui.weightsTable.item(number, column).text()


OFFER = {
    "name": MODEL,
    "source": "https://example.invalid/w",
    "bytes": 3 << 20,
    "sha256": "ab" * 32,
    "licence": "CC0-1.0",
    "replaces": True,
}


def test_table_tells_what_is_here(section):
    ui = section.ui
    states = [ui.weightsTable.item(row, 1).text() for row in range(ui.weightsTable.rowCount)]
    assert len(states) == len(section._rows) > 30
    assert states == sorted(states, key=["installed", "comes with SpineSeg", "absent"].index), "what is here first"
    assert cell(section, "unet-xray-small", 2) == "2.1 MiB" and "Apache" in cell(section, "unet-xray-small", 3)
    pick(section, "unet-xray-small")
    assert "Apache-2.0" in ui.chosenLabel.text and "sha256: " in ui.chosenLabel.text
    assert ui.verifyButton.enabled and not ui.deleteButton.enabled, "what comes with SpineSeg stays"
    pick(section, MODEL)
    assert not ui.verifyButton.enabled and "not here" in ui.verifyButton.toolTip
    assert not ui.installFileButton.enabled and not ui.installAddressButton.enabled
    ui.addressLineEdit.text = "http://example.invalid/w.safetensors"
    assert not ui.installAddressButton.enabled, "not a secure address"
    ui.addressLineEdit.text = "https://example.invalid/w.safetensors"
    assert ui.installAddressButton.enabled
    assert ui.missingLabel.text == "" and not ui.weightsProgressBar.visible


def test_download_begins_only_after_the_user_agreed(section, slicer_host):
    worker = Answering(section, {"install --dry-run": (OFFER, 0), "install": ({"file": "w.safetensors"}, 0)})
    pick(section, MODEL)
    section.ui.addressLineEdit.text = OFFER["source"]
    slicer_host.answers.append(False)
    assert click(slicer_host, section, section.ui.installAddressButton) == "Nothing was installed."
    assert worker.commands == [["install", MODEL, OFFER["source"], "--dry-run"]]
    (shown,) = [each.text for each in slicer_host.displayed if each.kind == "question"]
    assert all(text in shown for text in ("3.0 MiB", "ab" * 32, "CC0-1.0", OFFER["source"], "replaced"))
    assert slicer_host.pip_calls == [], "nor are packages asked for"
    looked = []
    section.offer = lambda: looked.append(True)
    assert "Installed w.safetensors" in click(slicer_host, section, section.ui.installAddressButton)
    assert worker.commands[-1] == ["install", MODEL, OFFER["source"], "--yes", "--sha256", "ab" * 32]
    assert looked and [call.requester for call in slicer_host.pip_calls] == ["SpineSeg"]


def test_what_goes_wrong_is_told_and_the_panel_comes_back(section, slicer_host, monkeypatch):
    import qt
    from SpineSegPanel.status import style_of

    dark = section.ui.weightsStatusLabel.palette
    dark.setColor(qt.QPalette.Window, qt.QColor("#202020"))
    section.ui.weightsStatusLabel.setPalette(dark)
    worker = Answering(section, {"install --dry-run": ("error: w: no such <file>; expected one. Look.", 1)})
    pick(section, MODEL)
    section.ui.fileLineEdit.currentPath = "w.safetensors"
    button = section.ui.installFileButton
    assert click(slicer_host, section, button) == "w: no such &lt;file&gt;; expected one. Look."
    assert section.ui.weightsStatusLabel.styleSheet == style_of(section.ui.weightsStatusLabel, True) != ""
    assert button.text == "&Install" and button.enabled and section.ui.weightsTable.enabled
    worker.answers["install --dry-run"] = ("", 3)
    assert "Cancelled" in click(slicer_host, section, button)
    worker.answers["install --dry-run"] = (OFFER, 0)

    def declined(*_):
        raise RuntimeError("PyTorch is missing")

    monkeypatch.setattr(sys.modules[type(section).__module__], "ensure_dependencies", declined)
    assert click(slicer_host, section, button) == "PyTorch is missing"
    assert all("--yes" not in command for command in worker.commands)


def test_weights_are_installed_verified_and_deleted_by_the_real_worker(section, slicer_host, home):
    """The very file that the card states is accepted from elsewhere, too."""
    name, ui = "unet-xray-small", section.ui
    pick(section, name)
    ui.fileLineEdit.currentPath = str(ROOT / "Resources" / "Models" / f"{name}.safetensors")
    assert "Installed" in click(slicer_host, section, ui.installFileButton)
    assert cell(section, name, 1) == "installed" and str(home) in cell(section, name, 5)
    assert section._chosen()["name"] == name, "it stays chosen wherever it moves to"
    assert f"{name}: good, sha256" in click(slicer_host, section, ui.verifyButton)
    assert "Deleted" in click(slicer_host, section, ui.deleteButton)
    assert cell(section, name, 1) == "comes with SpineSeg"
    assert [path.name for path in home.rglob("*.safetensors*")] == []


def test_folder_and_bundle_by_the_real_worker(section, slicer_host, tmp_path):
    chosen = tmp_path / "chosen folder"
    section.ui.folderLineEdit.currentPath = str(chosen)
    assert str(chosen) in click(slicer_host, section, section.ui.folderButton)
    (chosen / f"{MODEL}.safetensors").write_bytes(b"tensors")
    section.refresh()
    assert cell(section, MODEL, 1) == "installed" and cell(section, MODEL, 5) == str(chosen / f"{MODEL}.safetensors")
    section.ui.bundleLineEdit.currentPath = str(tmp_path)
    assert "README.txt" in click(slicer_host, section, section.ui.writeBundleButton)
    assert (tmp_path / "SpineSeg-bundle" / "weights" / f"{MODEL}.safetensors").read_bytes() == b"tensors"
    pick(section, MODEL)
    assert "Deleted" in click(slicer_host, section, section.ui.deleteButton)
    assert cell(section, MODEL, 1) == "absent"
    assert "weights of 1 models" in click(slicer_host, section, section.ui.installBundleButton)
    assert (chosen / f"{MODEL}.safetensors").read_bytes() == b"tensors"
    questions = [each.text for each in slicer_host.displayed if each.kind == "question"]
    assert any(MODEL in text and "sha256" in text for text in questions[1:])


def test_closing_the_scene_lets_go_of_a_run(section, slicer_host, scene):
    from SpineSegLib import mrml

    files = []

    def start(command, variables, onLine, onDone):
        import qt

        cancel = Path(command[command.index("--cancel-file") + 1])
        files.append(cancel)

        def work():
            if cancel.exists():
                onDone(3)
            else:
                qt.QTimer.singleShot(10, work)

        qt.QTimer.singleShot(0, work)

    section.keeper = mrml.WeightsKeeper(mrml.Worker(start=start, end=lambda pid: None))
    section.ui.verifyAllButton.click()
    assert section.busy and section.ui.verifyAllButton.text == "Cancel" and not section.ui.deleteButton.enabled
    scene.Clear(0)
    assert not section.busy and section.ui.verifyAllButton.text == "Ve&rify all"
    slicer_host.wait_until(lambda: not section.keeper.busy, timeout=30)
    assert not files[0].parent.exists()


def test_damaged_settings_are_told_in_the_section(section, home):
    from SpineSegLib.models.places import settings_file

    settings_file().parent.mkdir(parents=True)
    settings_file().write_text("{", encoding="utf-8")
    section.refresh()
    assert "Delete the file" in section.ui.weightsStatusLabel.text


def test_section_opens_without_torch_and_says_what_is_missing(tmp_path):
    """In a process of its own, in which torch cannot be imported and a package is not installed; nothing is asked."""
    code = (
        "import sys; sys.modules['torch'] = None; import host;"
        "from importlib import metadata; real = metadata.distribution\n"
        "def distribution(name):\n"
        "    if name == 'pydicom': raise metadata.PackageNotFoundError(name)\n"
        "    return real(name)\n"
        "metadata.distribution = distribution\n"
        f"panel = host.open_widget(host.load_module({str(ROOT / 'SpineSeg' / 'SpineSeg.py')!r}))\n"
        "section = panel.sections['Weights']; section.parent.collapsed = False\n"
        "print(section.ui.missingLabel.text, len(host.pip_calls), len(host.displayed), len(host.slot_errors))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT / "Testing",
        env={**os.environ, "PYTHONPATH": str(ROOT / "Testing"), "SPINESEG_WEIGHTS": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Missing: PyTorch, pydicom. ")
    assert done.stdout.strip().endswith("0 0 0")
