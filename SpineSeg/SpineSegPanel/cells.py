"""How the panel's tables show numbers: a cell without one holds a dash, where Slicer would write 'nan'."""

import qt

NO_NUMBER = "–"


class NumberDelegate(qt.QStyledItemDelegate):
    """Draws a table's cells; the numbers in its node stay as they are, for charts and scripts.

    :param view: the table's view
    """

    def displayText(self, value, locale) -> str:
        text = "" if value is None else str(value)
        return NO_NUMBER if text.lower() in ("nan", "-nan", "nan(ind)", "-nan(ind)") else text


def show_numbers(view) -> NumberDelegate:
    """Give a table view the delegate, and return it: the view does not keep it alive, so the caller does."""
    delegate = NumberDelegate(view)
    view.setItemDelegate(delegate)
    return delegate
