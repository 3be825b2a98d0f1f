"""What sections share whose buttons start what takes a while: one runs and says Cancel, all else is locked."""

import html
import logging
from collections.abc import Callable

import slicer
from slicer.i18n import tr as _

from SpineSegLib import mrml
from SpineSegPanel.section import Section
from SpineSegPanel.status import style_of


class RunSection(Section):
    """A section with runs.

    Its widgets ``nameStatusLabel`` and ``nameProgressBar`` (NAME is 'Name') show how a run goes on and ends. A class
    derived from it calls `setButtons` once, and says how a run is begun, whether there is one, and how it is stopped.
    """

    FIELDS: tuple[str, ...] = ()
    """Widgets that are locked during a run, beside the buttons."""

    def __init__(self, parent, logic, resourcePath) -> None:
        super().__init__(parent, logic, resourcePath)
        self._statusLabel = getattr(self.ui, f"{self.NAME.lower()}StatusLabel")
        self._progressBar = getattr(self.ui, f"{self.NAME.lower()}ProgressBar")
        self._running, self._buttons = None, {}

    @property
    def busy(self) -> bool:
        """True while a run is in progress."""
        raise NotImplementedError

    def cancel(self) -> None:
        """Ask the run to stop."""
        raise NotImplementedError

    def begin(self, button) -> None:
        """Start what a button is for; an error is shown."""
        raise NotImplementedError

    def setButtons(self, buttons: dict[object, tuple[str, Callable]]) -> None:
        """Give the buttons that start a run, each with its text and its function."""
        self._buttons = buttons
        for button in buttons:
            button.connect("clicked(bool)", lambda checked, button=button: self._clicked(button))

    def _clicked(self, button) -> None:
        """Start a run, or cancel the one that runs."""
        if not self.busy:
            self._guarded(lambda: self.begin(button))
            return
        button.enabled = False
        self._statusLabel.text = _("Stopping …")
        self.cancel()

    def _guarded(self, start: Callable[[], None]) -> None:
        try:
            start()
        except Exception as error:
            # Whatever it is, the panel must come back; what the user can do nothing about goes to the log as well.
            if not isinstance(error, mrml.InputError | RuntimeError):
                logging.exception("SpineSeg: the section %s could not start its run", self.NAME)
            self._showIdle(str(error) or type(error).__name__, failed=True)

    def onProgress(self, step: int, of: int, what: str) -> None:
        self._progressBar.maximum = max(of, 1)
        self._progressBar.value = step
        self._statusLabel.text = html.escape(what[:1].upper() + what[1:])

    def _showBusy(self, running, tip: str) -> None:
        """Lock everything; the button that runs is freed when its run can be cancelled."""
        self._running = running
        for name in self.FIELDS:
            getattr(self.ui, name).enabled = False
        for button in self._buttons:
            button.enabled = False
        running.text = _("Cancel")
        running.toolTip = tip
        self._progressBar.maximum = 0
        self._say(_("Preparing …"))
        slicer.app.processEvents()

    def _showIdle(self, text: str, failed: bool = False) -> None:
        self._running = None
        for name in self.FIELDS:
            getattr(self.ui, name).enabled = True
        for button, (label, _start) in self._buttons.items():
            button.text = label
        self._say(text, failed)
        self.update()

    def _say(self, text: str, failed: bool = False) -> None:
        self._statusLabel.styleSheet = style_of(self._statusLabel, failed)
        self._statusLabel.text = html.escape(text).replace("\n", "<br>")
        self._showParts()

    def _showParts(self) -> None:
        """Show what belongs to the state; opening the section shows everything in it."""
        self._progressBar.visible = self._running is not None
        self._statusLabel.visible = bool(self._statusLabel.text)
