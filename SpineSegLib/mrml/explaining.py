"""What a network looked at, and how sure it was, as colours over the image: ``explain`` in the worker process."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from SpineSegLib.errors import problem
from SpineSegLib.mrml.exchange import sending
from SpineSegLib.mrml.jobs import Jobs
from SpineSegLib.mrml.maps import Look, colour_map, show_map
from SpineSegLib.mrml.views import show_in_views
from SpineSegLib.mrml.worker import DONE, Outcome, Worker

KINDS = {
    "gradcam": ("Grad-CAM", "Grad-CAM"),
    "attention": ("Attention", "attention\n(1: even)"),
    "uncertainty": ("Uncertainty", "SD of the\nprobability"),
}
"""What the worker can show -> name of the map, and what its legend says."""

MAP_ATTRIBUTE = "SpineSeg.MapOf"
"""Attribute of a map's node: what it shows, and the ID of the image, by which the next run replaces it."""


@dataclass(frozen=True)
class Explained:
    """How a run ended.

    Parameters
    ----------
    state : ``"done"``, ``"cancelled"`` or ``"failed"``
    mapNode : vtkMRMLScalarVolumeNode over the image
    notes : what the map shows, in sentences
    error : one line for the user, when it failed
    seconds : from start to end
    """

    state: str
    mapNode: object = None
    notes: tuple[str, ...] = ()
    error: str = ""
    seconds: float = 0.0


class Explainer(Jobs):
    """Runs one explanation at a time.

    Parameters
    ----------
    worker : starts the process; tests give one with a starter and a timer of their own
    now : clock in seconds
    """

    def __init__(self, worker: Worker | None = None, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__(Explained, worker, now)

    def explain(
        self,
        volumeNode,
        modelName: str,
        kind: str,
        *,
        modality: str | None = None,
        weightsFile: str = "",
        onProgress: Callable[[int, int, str], None] = lambda *_: None,
        onLog: Callable[[str], None] = lambda *_: None,
        onDone: Callable[[Explained], None] = lambda *_: None,
    ) -> None:
        """Start to explain what a model makes of a volume, and return; ``onDone`` gets the `Explained`.

        Parameters
        ----------
        kind : ``"gradcam"``, ``"attention"`` or ``"uncertainty"``

        Raises
        ------
        InputError : the volume cannot be used; nothing was started
        RuntimeError : a run is in progress already
        """

        def prepare(folder: Path) -> None:
            exchange, write = sending(volumeNode, folder, modality=modality)
            self._volumeId, self._kind, self._map = exchange.volume_id, kind, folder / "map.nrrd"
            arguments = ["explain", kind, str(exchange.image), "--model", modelName, "--out", str(self._map), "--json"]
            arguments += ["--modality", exchange.modality] if exchange.modality else []
            arguments += ["--weights", weightsFile] if weightsFile else []
            self._aside(write, lambda _: self._work(arguments, self._explained), voxels=exchange.voxels)

        self._begin(prepare, onProgress, onLog, onDone)

    def _explained(self, outcome: Outcome) -> None:
        import slicer

        from SpineSegLib.io import read_image

        if outcome.state != DONE:
            self._fail(outcome.error)
            return
        volumeNode = slicer.mrmlScene.GetNodeByID(self._volumeId)
        if volumeNode is None:
            raise problem("volume", "it was deleted during the run", "the volume that was sent", "Run again")
        image = read_image(self._map)
        title, label = KINDS[self._kind]
        mark = f"{self._kind} {volumeNode.GetID()}"
        nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        mapNode = show_map(
            image,
            volumeNode,
            look_of(image.array, label),
            name=f"{title}: {volumeNode.GetName()}",
            volumeNode=next((node for node in nodes if node.GetAttribute(MAP_ATTRIBUTE) == mark), None),
        )
        mapNode.SetAttribute(MAP_ATTRIBUTE, mark)
        show_in_views(volumeNode)
        notes = outcome.payload.get("maps", ()) if isinstance(outcome.payload, dict) else ()
        self._succeed(mapNode=mapNode, notes=tuple(notes))


def look_of(values: np.ndarray, label: str) -> Look:
    """Return how a map that starts at 0 is coloured: up to its largest value, its coldest twentieth transparent."""
    high = float(np.nanmax(values)) if np.isfinite(values).any() else 0.0
    high = high if high > 0 else 1.0
    return Look(0.0, high, label, hidden_below=high / 20)


def show_volume_as_map(volumeNode, overNode=None) -> None:
    """Colour a volume of the scene that holds a scalar map (an entropy, say), and lay it over an image.

    Parameters
    ----------
    volumeNode : vtkMRMLScalarVolumeNode with the map
    overNode : vtkMRMLScalarVolumeNode below it; what the views show stays unless given

    Raises
    ------
    InputError : no volume, or one without voxels
    """
    import slicer

    if volumeNode is None:
        raise problem("map", "none is chosen", "a volume with a map", "Load what explain wrote, and choose it")
    if volumeNode.GetImageData() is None:
        raise problem(volumeNode.GetName(), "it has no voxels", "a volume with a map", "Choose another one")
    if overNode is not None and overNode is not volumeNode:
        show_in_views(overNode)
    colour_map(volumeNode, look_of(slicer.util.arrayFromVolume(volumeNode).astype(float), volumeNode.GetName()))
