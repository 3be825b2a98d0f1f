"""The bench command: rows that other programs read, ratios that are what they say."""

import json
import time

import pytest

from SpineSegLib import benchmarks
from SpineSegLib.benchmarks import BENCHMARKS, Row, find, race
from SpineSegLib.cli import main


def test_a_race_takes_turns_and_leaves_the_first_turn_out():
    calls = []

    def runner(name, seconds):
        def run():
            calls.append(name)
            # The first call is long, as when memory is touched for the first time.
            time.sleep(0.2 if calls.count(name) == 1 else seconds)

        return run

    slow, quick = race(runner("slow", 0.04), runner("quick", 0.01), repeats=3)
    assert calls == ["slow", "quick"] * 4
    assert slow > quick
    assert slow < 0.2


def test_a_ratio_is_how_many_times_as_fast_as_the_reference():
    assert Row("a", "b", seconds=2.0, reference_seconds=7.0).ratio == 3.5


@pytest.mark.parametrize("name", list(BENCHMARKS))
def test_every_benchmark_is_there(name):
    assert callable(find(name))


def test_bench_prints_the_rows_that_other_programs_rely_on(monkeypatch, capsys):
    monkeypatch.setattr(benchmarks, "find", lambda name: lambda repeats: [Row(name, f"{repeats} times", 0.5, 2.0)])
    assert main(["bench", "sam-encoder", "--repeats", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [
        {"name": "sam-encoder", "reference": "2 times", "ratio": 4.0, "seconds": 0.5, "reference_seconds": 2.0}
    ]


def test_a_benchmark_without_its_reference_is_left_out_with_a_word(monkeypatch, capsys):
    def missing(repeats):
        raise ImportError("No module named 'segment_anything'")

    monkeypatch.setattr(benchmarks, "find", lambda name: missing)
    assert main(["bench", "sam-encoder"]) == 0
    assert "sam-encoder was left out" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [["nothing"], ["--repeats", "0"], ["--threads", "0"]])
def test_a_wrong_wish_is_refused_in_one_line(wrong, capsys):
    assert main(["bench", *wrong]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_decoder_rows_compare_with_the_form_that_the_paper_defines():
    rows = find("cervspinenet-decoder")(1)
    assert [row.reference for row in rows] == ["as defined, float32"] * 2
    assert all(row.seconds > 0 and row.reference_seconds > 0 for row in rows)


def test_spinefm_is_timed_over_a_fixed_number_of_vertebrae(monkeypatch):
    import dataclasses

    from SpineSegLib.benchmarks import vertebrae
    from SpineSegLib.models import card

    model = card("spinefm-cervical-small")
    given = model.network["arguments"]
    narrow = {
        **given,
        "detector": {**given["detector"], "size": 64, "longest": 64, "width": 4, "detections": 3},
        "segmenter": {**given["segmenter"], "size": 32, "width": 16, "depth": 2, "global_blocks": [1]},
    }
    small = dataclasses.replace(
        model, input={**model.input, "size": [160, 160]}, network={"name": "spinefm", "arguments": narrow}
    )
    monkeypatch.setattr(vertebrae, "card", lambda name: small)
    rows = find("spinefm-vertebra")(1)
    assert [row.reference_seconds for row in rows] == [1.5, 1.5]
    assert all(row.seconds > 0 for row in rows)
