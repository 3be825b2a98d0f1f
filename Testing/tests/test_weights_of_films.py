"""Bundled weights for films reach the floors that they were made for, and the scores that their cards state."""

import pytest
from bundle import HELD_OUT, measured

from SpineSegLib.models import card

FLOORS = {
    "cvm-unet-small": {
        "AP projection of the chest CT": 0.80,
        "lateral projection of the chest CT": 0.80,
        "20 AP films of digital spines": 0.92,
        "20 lateral lumbar films of digital spines": 0.92,
    },
    "cervspinenet-small": {"20 lateral films of digital necks": 0.90},
}
"""Dice of cases that were never trained on."""


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", FLOORS)
def test_bundled_weights_reach_their_floors_and_what_their_card_says(name):
    scores = [score for held_out in HELD_OUT[name] for score in measured(name, held_out(name), None)]
    found = {score["case"]: score["value"] for score in scores if score["metric"] == "dice"}
    stated = {score["case"]: score["value"] for score in card(name).weights.scores if score["metric"] == "dice"}
    # Another processor rounds otherwise.
    assert found == pytest.approx(stated, abs=0.005)
    for case, floor in FLOORS[name].items():
        assert next(value for full, value in found.items() if full.startswith(case)) >= floor, case
