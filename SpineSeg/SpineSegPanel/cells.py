"""How the panel's tables show numbers: four digits, and a dash where there is none and Slicer would write 'nan'."""

import re

import qt

NO_NUMBER = "–"
FRACTION = re.compile(r"-?\d+\.\d+(e[+-]?\d+)?", re.IGNORECASE)
"""What a measured value looks like; whole numbers may be names, of patients or cases."""


class NumberDelegate(qt.QStyledItemDelegate):
    """Draws a table's cells; the numbers in its node stay as they are, for charts and scripts.

    :param view: the table's view
    """

    def displayText(self, value, locale) -> str:
        text = "" if value is None else str(value)
        if text.lower() in ("nan", "-nan", "nan(ind)", "-nan(ind)"):
            return NO_NUMBER
        if not FRACTION.fullmatch(text):
            return text
        number = float(text)
        return f"{number:.0f}" if abs(number) >= 1000 else f"{number:.4g}"


def show_numbers(view) -> NumberDelegate:
    """Give a table view the delegate, and return it: the view does not keep it alive, so the caller does."""
    delegate = NumberDelegate(view)
    view.setItemDelegate(delegate)
    return delegate
