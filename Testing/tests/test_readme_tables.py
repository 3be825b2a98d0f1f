"""The README's tables are those of the cards."""

import pytest
import readme_tables


def test_the_readme_states_what_the_cards_state():
    text = readme_tables.README.read_text(encoding="utf-8")
    assert readme_tables.with_tables(text) == text, "run: python3 Testing/run.py python Testing/readme_tables.py"


def test_every_bundled_model_is_listed_with_a_measured_dice_and_its_licence():
    table = readme_tables.weights_table()
    bundled = [card for card in readme_tables.registry().values() if card.weights.bundled]
    assert len(bundled) >= 4
    for card in bundled:
        row = next(line for line in table.splitlines() if f"`{card.name}`" in line)
        assert "**0." in row
        assert card.weights.licence in row


def test_a_readme_without_room_for_a_table_is_refused():
    with pytest.raises(ValueError, match="<!-- networks -->"):
        readme_tables.with_tables("<!-- weights -->\n<!-- /weights -->\n")
