"""Files between Slicer and the worker process: a volume node goes out, a segmentation comes back.

The worker (``python -m SpineSegLib segment …``) sees the volume where it lies in the world, its transforms applied; a
rotated, scaled or sheared volume goes through unchanged. The files live in a temporary folder of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from SpineSegLib.errors import problem
from SpineSegLib.image import Segmentation
from SpineSegLib.mrml.geometry import volume_geometry, volume_matrix
from SpineSegLib.mrml.segmentations import same_grid, segmentation_from_node
from SpineSegLib.mrml.volumes import check_voxels, image_from_node


@dataclass(frozen=True)
class Exchange:
    """The files of one run, and what the volume was like when it was sent.

    Parameters
    ----------
    folder : the run's temporary folder
    modality : ``"XR"``, ``"CT"``, ``"MR"`` or None
    volume_id : the volume node's ID in its scene
    shape, matrix : the volume's grid (k, j, i and its own ijk_to_ras)
    has_truth : whether a ground truth was sent
    notes : what the user should know about the files, in sentences
    """

    folder: Path
    modality: str | None
    volume_id: str
    shape: tuple[int, int, int]
    matrix: np.ndarray
    has_truth: bool
    notes: tuple[str, ...] = ()

    @property
    def image(self) -> Path:
        """The volume for the worker."""
        return self.folder / "volume.nrrd"

    @property
    def result(self) -> Path:
        """Where the worker writes the segmentation."""
        return self.folder / "result.seg.nrrd"

    @property
    def probability(self) -> Path:
        """Where the worker writes the probability, if it is to be kept."""
        return self.folder / "probability.nrrd"

    @property
    def voxels(self) -> int:
        """How many voxels the volume has."""
        return math.prod(self.shape)

    @property
    def truth(self) -> Path:
        """The ground truth for the worker."""
        return self.folder / "truth.seg.nrrd"


def send(volumeNode, folder: str | Path, *, modality: str | None = None, truthNode=None) -> Exchange:
    """Write a volume node, and a ground truth if there is one, for the worker; arguments and errors as `sending`."""
    exchange, write = sending(volumeNode, folder, modality=modality, truthNode=truthNode)
    write()
    return exchange


def sending(
    volumeNode, folder: str | Path, *, modality: str | None = None, truthNode=None
) -> tuple[Exchange, Callable[[], None]]:
    """Take a volume node, and a ground truth if there is one, out of the scene, and return what writes their files.

    Parameters
    ----------
    volumeNode : vtkMRMLScalarVolumeNode
    folder : an existing, empty folder
    modality : what the volume is; what `modality_of` says unless given
    truthNode : vtkMRMLSegmentationNode to compare with; it is put on the volume's grid

    Returns
    -------
    exchange : the files
    write : writes them, without the scene, so that a thread can; InputError when nothing can be seen in the volume

    Raises
    ------
    InputError : the volume or the truth cannot be used; the text names the node
    """
    from SpineSegLib.io import write_image, write_segmentation

    image, name = image_from_node(volumeNode, modality=modality), volumeNode.GetName()
    notes = []
    truth = None
    if truthNode is not None:
        truth = segmentation_from_node(truthNode, volumeNode)
        if not same_grid(truthNode, volumeNode):
            notes.append(
                f"The ground truth '{truthNode.GetName()}' was made on another grid; "
                "it is compared on the volume's grid (nearest neighbour)."
            )
    exchange = Exchange(
        Path(folder),
        image.modality,
        volumeNode.GetID(),
        image.geometry.shape,
        volume_matrix(volumeNode),
        truth is not None,
        tuple(notes),
    )

    def write() -> None:
        check_voxels(image, name)
        # The file lives for a minute: not worth compressing.
        write_image(image, exchange.image, compression=0)
        if truth is not None:
            write_segmentation(truth, exchange.truth)

    return exchange, write


def receive(exchange: Exchange, scene, segmentation: Segmentation | None = None) -> tuple[Segmentation, object]:
    """Read the worker's result and find the volume it belongs to.

    Parameters
    ----------
    segmentation : the result, where it has been read already

    Returns
    -------
    segmentation : on the volume's grid as it lies in the world now
    volumeNode : the volume that was sent

    Raises
    ------
    InputError : the volume was deleted or given another grid meanwhile, or the result is not on its grid
    """
    from SpineSegLib.io import read_segmentation

    volumeNode = scene.GetNodeByID(exchange.volume_id)
    if volumeNode is None:
        raise problem("volume", "it was deleted during the run", "the volume that was sent", "Load it and run again")
    geometry = volume_geometry(volumeNode)
    if geometry.shape != exchange.shape or not np.allclose(volume_matrix(volumeNode), exchange.matrix, atol=1e-6):
        raise problem(
            volumeNode.GetName(), "its grid was changed during the run", "the grid that was sent", "Run again"
        )
    segmentation = segmentation or read_segmentation(exchange.result)
    if segmentation.geometry.shape != exchange.shape:
        raise problem(
            exchange.result.name,
            f"the result has {segmentation.geometry.shape} voxels",
            f"{exchange.shape}, as the volume",
            "Please report this with the log",
        )
    # The worker keeps the grid; the volume may have been moved by its transform meanwhile, and the result moves along.
    return replace(segmentation, geometry=geometry), volumeNode
