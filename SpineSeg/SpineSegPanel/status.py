"""How the panel says that something goes on or went wrong: colours for light and dark themes, and the time left."""

from slicer.i18n import tr as _

DARK_RED, LIGHT_RED = "#c62828", "#ff8a80"
EARLY = 5.0
"""Seconds before which nothing is said about the time left: loading the model tells little about the rest."""


def style_of(widget, failed: bool) -> str:
    """Return the style sheet of a status: red for a failure, a red that can be read on the widget's background."""
    if not failed:
        return ""
    dark = widget.palette.window().color().lightness() < 128
    return f"color: {LIGHT_RED if dark else DARK_RED}"


def time_left(elapsed: float, step: int, of: int) -> str:
    """Return how long a run still takes, in words, or nothing while that cannot be said.

    :param elapsed: seconds since the start
    """
    if elapsed < EARLY or not 0 < step < of:
        return ""
    seconds = elapsed * (of - step) / step
    if seconds < 90:
        # Steps of five: numbers that jump up and down are of no use.
        return _("about {seconds} s left").format(seconds=5 * max(1, round(seconds / 5)))
    return _("about {minutes} min left").format(minutes=round(seconds / 60))
