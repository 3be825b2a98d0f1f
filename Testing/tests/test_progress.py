"""Progress, cancelling and errors, as the panel and the command line see them."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

import SpineSegLib
from SpineSegLib.errors import Cancelled, InputError, problem
from SpineSegLib.progress import Reporter, part, silent


def test_json_progress_is_one_object_a_line():
    stream = io.StringIO()
    report = Reporter("json", stream=stream)
    report(1, 3, "reading “Wirbelsäule”\nnow")
    report(2, 3, "segmenting")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert lines == [
        {"step": 1, "of": 3, "what": "reading “Wirbelsäule”\nnow"},
        {"step": 2, "of": 3, "what": "segmenting"},
    ]


def test_json_progress_survives_a_stream_that_knows_only_ascii():
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    Reporter("json", stream=stream)(1, 1, "größer")
    stream.seek(0)
    assert json.loads(stream.read())["what"] == "größer"


def test_text_progress_is_for_people_and_none_is_silent():
    stream = io.StringIO()
    Reporter("text", stream=stream)(1, 3, "reading")
    assert stream.getvalue() == "[1/3] reading\n"
    Reporter("none", stream=stream)(2, 3, "reading")
    assert stream.getvalue() == "[1/3] reading\n"
    silent(1, 1, "nothing")


def test_progress_reaches_the_reader_before_the_work_ends():
    program = (
        "from SpineSegLib.progress import Reporter\n"
        "Reporter('json')(1, 2, 'first')\n"
        "input()\n"  # the work goes on until the reader has seen the line
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(SpineSegLib.__file__).parent.parent,
    ) as process:
        assert json.loads(process.stdout.readline())["what"] == "first"
        process.communicate("\n", timeout=30)
    assert process.returncode == 0


@pytest.mark.parametrize("style", ["json", "text", "none"])
def test_cancel_file_stops_at_the_next_step(style, tmp_path):
    stream, cancel = io.StringIO(), tmp_path / "cancel"
    report = Reporter(style, cancel_file=cancel, stream=stream)
    report(1, 3, "reading")
    before = stream.getvalue()
    cancel.touch()
    with pytest.raises(Cancelled, match="step 2 of 3"):
        report(2, 3, "segmenting")
    assert stream.getvalue() == before


def test_unknown_progress_style_is_refused():
    with pytest.raises(ValueError, match="loud"):
        Reporter("loud")


def test_a_part_counts_within_the_whole_and_passes_cancelling_on():
    seen = []
    report = part(lambda step, of, what: seen.append((step, of, what)), 10, 20)
    report(3, 5, "inner")
    assert seen == [(13, 20, "inner")]

    def stop(step, of, what):
        raise Cancelled

    with pytest.raises(Cancelled):
        part(stop, 0, 1)(0, 1, "x")


def test_input_error_is_one_line_that_says_what_to_do():
    error = problem("a.nii", "two\n  channels", "one channel", "Convert it to grey.")
    assert isinstance(error, InputError)
    assert str(error) == "a.nii: two channels; expected one channel. Convert it to grey."
