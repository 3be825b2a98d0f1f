"""The panel's section 'Weights': what is here, installing, checking, deleting, and bundles for offline sites."""

import html
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from SpineSegLib import mrml
from SpineSegPanel.dependencies import ensure_dependencies
from SpineSegPanel.runs import RunSection

BUNDLE = "SpineSeg-bundle"
"""Name of the folder that a new bundle gets, in the chosen one."""


class WeightsSection(RunSection):
    """The section's behaviour. Nothing is downloaded before the user has seen what it is and agreed."""

    NAME = "Weights"
    FIELDS = (
        "weightsTable",
        "fileLineEdit",
        "addressLineEdit",
        "folderLineEdit",
        "bundleLineEdit",
        "packagesCheckBox",
    )

    @classmethod
    def title(cls) -> str:
        return _("Weights")

    def __init__(self, parent, logic, resourcePath) -> None:
        super().__init__(parent, logic, resourcePath)
        self.keeper = mrml.WeightsKeeper(logic.worker)
        ui, self._rows = self.ui, []
        buttons = {
            ui.verifyButton: (_("Verif&y"), self._verify),
            ui.verifyAllButton: (_("Ve&rify all"), self._verifyAll),
            ui.deleteButton: (_("Dele&te"), self._delete),
            ui.installFileButton: (_("&Install"), self._installFile),
            ui.installAddressButton: (_("&Download"), self._installAddress),
            ui.folderButton: (_("&Use"), self._useFolder),
            ui.writeBundleButton: (_("&Write bundle"), self._writeBundle),
            ui.installBundleButton: (_("I&nstall bundle"), self._installBundle),
        }
        self.setButtons(buttons)
        ui.weightsTable.connect("itemSelectionChanged()", self.update)
        ui.addressLineEdit.connect("textChanged(QString)", lambda text: self.update())
        for widget in (ui.fileLineEdit, ui.folderLineEdit, ui.bundleLineEdit):
            widget.connect("currentPathChanged(QString)", lambda path: self.update())
        parent.connect("contentsCollapsed(bool)", self.onCollapsed)
        self._showIdle("")

    @property
    def busy(self) -> bool:
        """True while something runs."""
        return self._running is not None

    def close(self) -> None:
        """Let go of a run."""
        self._showIdle(_("Cancelled.") if self.keeper.leave() else "")

    def onCollapsed(self, collapsed: bool) -> None:
        """Look anew when the section is opened: files may have come and gone meanwhile."""
        if not collapsed and not self.busy:
            self.refresh()
        self._showParts()

    def refresh(self) -> None:
        """Fill the table and the folder."""
        chosen = self._chosen()
        try:
            self._rows, folder = mrml.weights_rows(), mrml.current_folder()
        except mrml.InputError as error:
            self._say(str(error), failed=True)
            return
        table = self.ui.weightsTable
        states = {"bundled": _("comes with SpineSeg"), "installed": _("installed"), "absent": _("absent")}
        blocked = table.blockSignals(True)
        table.setRowCount(len(self._rows))
        for number, row in enumerate(self._rows):
            cells = (
                row["name"],
                states[row["weights"]],
                _size(row["bytes"]),
                row["licence"] or "–",
                (row["sha256"] or "–")[:12],
                row["file"] or "–",
            )
            for column, text in enumerate(cells):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(row["title"] if column == 0 else (row["sha256"] or "") if column == 4 else text)
                table.setItem(number, column, item)
        table.resizeColumnsToContents()
        names = [row["name"] for row in self._rows]
        table.selectRow(names.index(chosen["name"]) if chosen else 0)
        table.blockSignals(blocked)
        self.ui.folderLineEdit.currentPath = folder
        missing = mrml.missing_packages(self.resourcePath("requirements.txt"))
        text = _("Missing: {names}. SpineSeg offers to install them when they are needed; offline, install a bundle.")
        self.ui.missingLabel.text = text.format(names=", ".join(missing)) if missing else ""
        self.update()

    def _chosen(self):
        """Return the row of the chosen model, or None."""
        number = self.ui.weightsTable.currentRow()
        return self._rows[number] if 0 <= number < len(self._rows) else None

    def update(self) -> None:
        """Make the buttons fit the choices; cheap, for it runs at every change."""
        if self.busy:
            return
        ui, row = self.ui, self._chosen()
        ui.chosenLabel.text = _details(row) if row else ""
        noModel = "" if row else _("Choose a model in the table")
        absent = noModel or (_("Its weights are not here") if row["weights"] == "absent" else "")
        bundled = absent or (_("They come with SpineSeg") if row["weights"] == "bundled" else "")
        noFile = noModel or ("" if ui.fileLineEdit.currentPath else _("Choose a file"))
        noAddress = noModel or ("" if self._address() else _("Enter an address that begins with https://"))
        noBundle = "" if ui.bundleLineEdit.currentPath else _("Choose a folder")
        for button, reason, tip in (
            (ui.verifyButton, absent, _("Compare checksum, names and shapes")),
            (ui.verifyAllButton, "", _("Compare checksum, names and shapes of all that are here")),
            (ui.deleteButton, bundled, _("Delete the installed file")),
            (ui.installFileButton, noFile, _("Install the file for the model chosen in the table")),
            (ui.installAddressButton, noAddress, _("Show size, checksum and licence, then download if you agree")),
            (ui.folderButton, "" if ui.folderLineEdit.currentPath else _("Choose a folder"), _("Keep weights there")),
            (ui.writeBundleButton, noBundle, _("Write a new folder there that an offline machine installs from")),
            (ui.installBundleButton, noBundle, _("Check the bundle in this folder and install its weights")),
        ):
            button.enabled = not reason
            button.toolTip = reason or tip
        self._showParts()

    def _address(self) -> str:
        """Return the entered address, or that of the model's card; nothing where it is not secure."""
        row = self._chosen()
        text = self.ui.addressLineEdit.text.strip() or (row and row["url"]) or ""
        return text if text.startswith("https://") else ""

    def begin(self, button) -> None:
        """Start what the button is for; it may ask first."""
        self._buttons[button][1](button)

    def cancel(self) -> None:
        """Ask the run to stop."""
        self.keeper.cancel()

    def _run(self, button, arguments: list[str], then) -> None:
        """Run ``weights ARGUMENTS`` and go on with what it printed."""

        def ended(result: mrml.Managed) -> None:
            if result.state == mrml.CANCELLED:
                self._showIdle(_("Cancelled. Nothing was changed."))
            elif result.error:
                self._showIdle(result.error, failed=True)
            else:
                self._running = None
                self._guarded(lambda: then(result.content))

        self._showBusy(button, _("Stop; nothing is changed"))
        self.keeper.run(*arguments, onProgress=self.onProgress, onLog=self.log, onDone=ended)
        button.enabled = True
        button.setFocus()

    def _changed(self, text: str) -> None:
        """Say what was done, and show what is here now, in the list of models too."""
        self._showIdle(text)
        self.refresh()
        self.offer()

    def _verify(self, button) -> None:
        self._verifyThese(button, [self._chosen()["name"]])

    def _verifyAll(self, button) -> None:
        self._verifyThese(button, [])

    def _verifyThese(self, button, names: list[str]) -> None:
        ensure_dependencies(self.resourcePath("requirements.txt"))

        def done(checked) -> None:
            lines = [_("{name}: good, sha256 {sha256}").format(**entry) for entry in checked]
            self._showIdle("\n".join(lines) or _("There are no weights here."))

        self._run(button, ["verify", *names], done)

    def _delete(self, button) -> None:
        row = self._chosen()
        if slicer.util.confirmOkCancelDisplay(_("Delete {file}?").format(file=row["file"]), _("Delete weights")):
            done = lambda content: self._changed(_("Deleted {file}.").format(**content))  # noqa: E731
            self._run(button, ["delete", row["name"]], done)

    def _installFile(self, button) -> None:
        self._install(button, self.ui.fileLineEdit.currentPath)

    def _installAddress(self, button) -> None:
        self._install(button, self._address())

    def _install(self, button, source: str) -> None:
        """Show what would be installed; install it, and nothing else than this, when the user agrees."""
        name = self._chosen()["name"]

        def asked(offer) -> None:
            self._showIdle("")
            lines = [
                _("Install weights for {name}?").format(name=name),
                _("From: {source}").format(source=source),
                _("Size: {size}").format(size=_size(offer["bytes"])),
                _("sha256: {sha256}").format(sha256=offer["sha256"] or _("known after the download")),
                _("Licence: {licence}").format(licence=offer["licence"] or _("not stated")),
            ]
            lines += [_("The installed weights of this model are replaced.")] if offer["replaces"] else []
            if not slicer.util.confirmOkCancelDisplay("\n".join(lines), _("Install weights")):
                self._showIdle(_("Nothing was installed."))
                return
            ensure_dependencies(self.resourcePath("requirements.txt"))
            agreed = ["--sha256", offer["sha256"]] if offer["sha256"] else []
            done = lambda content: self._changed(_("Installed {file}.").format(**content))  # noqa: E731
            self._run(button, ["install", name, source, "--yes", *agreed], done)

        self._run(button, ["install", name, source, "--dry-run"], asked)

    def _useFolder(self, button) -> None:
        def done(content) -> None:
            said = _("Installed weights lie in {folder} from now on; nothing was moved.").format(**content)
            self._changed("\n".join([said, *content["warnings"]]))

        self._run(button, ["folder", self.ui.folderLineEdit.currentPath], done)

    def _writeBundle(self, button) -> None:
        out = Path(self.ui.bundleLineEdit.currentPath) / BUNDLE
        packages = self.ui.packagesCheckBox.checked
        question = _("Download the Python packages too? With PyTorch they may be several gigabytes.")
        if packages and not slicer.util.confirmOkCancelDisplay(question, _("Write bundle")):
            return
        said = _("Wrote {folder}: {count} models, {wheels} packages, {size}. README.txt in it says how to install.")

        def done(content) -> None:
            facts = {**content, "count": len(content["weights"]), "size": _size(content["bytes"])}
            self._showIdle(said.format(**facts))

        self._run(button, ["bundle", str(out), *(["--wheels"] if packages else [])], done)

    def _installBundle(self, button) -> None:
        folder = self._bundleFolder()

        def asked(offers) -> None:
            self._showIdle("")
            line = _("{model}: {size}, sha256 {sha256}, licence {licence}")
            lines = [
                line.format(
                    model=offer["model"],
                    size=_size(offer["bytes"]),
                    sha256=offer["sha256"][:12],
                    licence=offer["licence"] or _("not stated"),
                )
                for offer in offers
            ]
            question = "\n".join([_("Every checksum is right. Install these weights?"), *lines])
            if slicer.util.confirmOkCancelDisplay(question, _("Install bundle")):
                self._run(button, ["install-bundle", folder, "--yes"], done)
            else:
                self._showIdle(_("Nothing was installed."))

        def done(content) -> None:
            facts = {"installed": len(content["installed"]), "here": len(content["here"])}
            self._changed(_("Installed weights of {installed} models; {here} were here already.").format(**facts))

        self._run(button, ["install-bundle", folder, "--dry-run"], asked)

    def _bundleFolder(self) -> str:
        """Return the chosen folder, or the bundle in it that 'Write bundle' made there."""
        chosen = Path(self.ui.bundleLineEdit.currentPath)
        return str(chosen / BUNDLE if (chosen / BUNDLE).is_dir() else chosen)

    def _showParts(self) -> None:
        super()._showParts()
        self.ui.missingLabel.visible = bool(self.ui.missingLabel.text)


def _details(row) -> str:
    """Return what a narrow panel cuts off in the table, in full and to be copied."""
    lines = [row["title"]]
    lines += [_("Licence: {licence}").format(licence=row["licence"])] if row["licence"] else []
    # A place to break the line, for a label is never narrower than its longest word.
    halves = f"{row['sha256'][:32]} {row['sha256'][32:]}" if row["sha256"] else ""
    lines += [_("sha256: {sha256}").format(sha256=halves)] if halves else []
    lines += [_("From: {source}").format(source=row["source"])] if row["source"] else []
    return "<br>".join(html.escape(line) for line in lines)


def _size(count) -> str:
    return "–" if count is None else f"{count / 2**20:.1f} MiB"
