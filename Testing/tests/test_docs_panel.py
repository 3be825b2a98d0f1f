"""The documents of the panel: what they name exists, what they tell can be done, and their code runs."""

from __future__ import annotations

import ast
import io
import re
import runpy
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "Resources" / "Docs"
PICTURES = ROOT / "Resources" / "Screenshots"
PAGES = sorted(DOCS.glob("*.md"))
LINK = re.compile(r"\[[^\]]*\]\(([^)]+)\)")
BOLD = re.compile(r"\*\*(.+?)\*\*", re.DOTALL)
CODE = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
PICTURES_TOGETHER = 600 * 1024
"""Bytes; they stay in the repository's history for ever."""


@pytest.fixture
def in_process(scene, monkeypatch):
    """The worker as a function: the real library and weights, without the time that processes take to start."""
    import qt

    from SpineSegLib.cli import main
    from SpineSegLib.mrml import worker

    def start(arguments, variables, onLine, onDone):
        def work() -> None:
            with redirect_stdout(io.StringIO()) as said, redirect_stderr(said):
                status = main(arguments[3:])
            for line in said.getvalue().splitlines():
                onLine(line)
            onDone(status)

        qt.QTimer.singleShot(0, work)
        return SimpleNamespace(pid=None)

    monkeypatch.setattr(worker, "launch", start)


def bold_in(page: Path) -> list[str]:
    """Return what a page says in bold, in order."""
    return [" ".join(words.split()) for words in BOLD.findall(page.read_text(encoding="utf-8"))]


def texts_of_the_panel() -> set[str]:
    """Return every text that the panel can show: those of the .ui files, and literals that its code translates."""
    found = []
    for path in (ROOT / "SpineSeg" / "Resources" / "UI").glob("*.ui"):
        for element in ElementTree.parse(path).iter("property"):
            if element.get("name") in ("text", "title"):
                found += [string.text or "" for string in element.iter("string")]
    for path in (ROOT / "SpineSeg" / "SpineSegPanel").glob("*.py"):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "_":
                found.append(call.args[0].value)
    return {text.replace("&", "").removesuffix(":") for text in found}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_picture_and_page_that_is_named_exists(page):
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if not target.startswith("https://"):
            assert (page.parent / target).resolve().is_file(), f"{page.name} names {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_is_bold_stands_on_the_panel(page):
    unknown = set(bold_in(page)) - texts_of_the_panel()
    assert not unknown, f"{page.name}: {sorted(unknown)}"


def test_pictures_are_small_and_every_one_is_shown():
    there = {path for kind in ("tutorial", "states") for path in PICTURES.glob(f"{kind}-*.png")}
    shown = {
        (page.parent / target).resolve()
        for page in PAGES
        for target in LINK.findall(page.read_text(encoding="utf-8"))
        if target.endswith(".png")
    }
    assert there == shown
    assert sum(path.stat().st_size for path in there) < PICTURES_TOGETHER


@pytest.mark.timeout(1200)
def test_the_tutorial_leads_from_the_film_to_the_report(in_process, tmp_path):
    """Every step with the bundled weights; what the page promises has happened."""
    import numpy as np
    import slicer
    from pypdfium2 import PdfDocument
    from tutorial import FILES, Tutorial

    levels = {}

    def look(name: str) -> None:
        found = tutorial.result.GetSegmentation() if tutorial.result else None
        count = found.GetNumberOfSegments() if found else 0
        levels[name] = [found.GetNthSegment(number).GetName() for number in range(count)]

    tutorial = Tutorial(tmp_path, look)
    tutorial.run()
    bodies = [f"{level} body" for level in ("C2", "C3", "C4", "C5", "C6", "C7", "T1")]
    assert levels["result"] == bodies
    assert levels["correct"] == [*bodies[1:], "T2 body"]
    assert levels["accept"] == bodies
    assert tutorial.result.GetAttribute("SpineSeg.Accepted")
    measured = tutorial.panel.sections["Evaluate"].ui
    dice = slicer.util.arrayFromTableColumn(measured.evaluateTableView.mrmlTableNode(), "dice")
    assert dice[0] > 0.9
    assert np.median(dice[1:]) > 0.9
    assert "left out of the truth" in measured.evaluateStatusLabel.text
    assert [path.name for path in tutorial.written] == list(FILES.values())
    text = PdfDocument(tutorial.written[-1])[0].get_textpage().get_text_range()
    assert all(word in text for word in ("Neck 1", "yolo-unet-cervical-small", "C7 body"))
    assert "not for diagnostic use" in text.lower()
    told = iter(bold_in(DOCS / "tutorial.md"))
    assert all(button in told for button in tutorial.clicked), f"the page tells another order than {tutorial.clicked}"
    assert tutorial.panel.parent.minimumSizeHint.width() <= 600


@pytest.mark.timeout(1200)
def test_code_for_slicers_console_runs(in_process, slicer_host, tmp_path, monkeypatch, capsys):
    """The page's first block as it stands, with a smaller film; the second is compiled and its call exists."""
    import slicer
    from SpineSegPanel.logic import SpineSegLogic

    from SpineSegLib import mrml

    slicer_host.load_module(ROOT / "SpineSeg" / "SpineSeg.py")
    neck = mrml.SAMPLES[0]
    monkeypatch.setattr(mrml, "SAMPLES", (replace(neck, options=(*neck.options, "--size", "320")),))
    monkeypatch.setattr(type(slicer.app), "temporaryPath", property(lambda self: str(tmp_path)))
    first, second = CODE.findall((DOCS / "scripting.md").read_text(encoding="utf-8"))
    script = tmp_path / "script.py"
    script.write_text(first, encoding="utf-8")
    runpy.run_path(str(script))
    said = capsys.readouterr().out
    assert "yolo-unet-cervical-small" in said
    assert "C4 body C4" in said
    written = {path.name for path in (tmp_path / "neck").iterdir()}
    assert written >= {"neck.seg.nrrd", "neck.labels.png", "neck.png", "neck.csv", "neck.pdf"}
    calls = [
        node.func.attr
        for node in ast.walk(ast.parse(second))
        if isinstance(node, ast.Call) and hasattr(node.func, "attr")
    ]
    assert calls
    assert all(hasattr(SpineSegLogic, name) for name in calls)
