"""The four networks of SpineFM as the pipeline uses them: what they must offer, and how they are called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from SpineSegLib.models.crops import Crop
from SpineSegLib.models.spine_patches import in_patch
from SpineSegLib.pipelines.run import Runner


class Detector(Protocol):
    """Finds vertebrae in the whole picture."""

    def detect(self, images: torch.Tensor, score: float = 0.6) -> list[Mapping[str, torch.Tensor]]:
        """Return ``boxes`` (k, 4), ``scores`` (k,) and boolean ``masks`` (k, h, w) of images (n, c, h, w) in 0…1."""


class Segmenter(Protocol):
    """Segments the vertebra at a point of a patch of side `size`."""

    size: int

    def encode(self, patches: torch.Tensor) -> torch.Tensor:
        """Return embeddings of patches (n, c, size, size)."""

    def decode(self, embedding: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        """Return logits (n, 1, size, size) for points (n, 1, 2), x and y in pixels of the patch."""


class Classifier(Protocol):
    """Says what lies in the middle of a patch of side `size`: one of `classes`."""

    size: int
    classes: Sequence[str]

    def __call__(self, patches: torch.Tensor) -> torch.Tensor:
        """Return logits (n, classes) of patches (n, c, size, size)."""


class Predictor(Protocol):
    """Predicts the next centroid."""

    def predict_next(self, centroids: torch.Tensor) -> torch.Tensor:
        """Return (n, 2) pixels of three centroids (n, 3, 2), the newest last."""


class Network(Protocol):
    """The four of them."""

    detector: Detector
    segmenter: Segmenter
    classifier: Classifier
    predictor: Predictor


CLASSES = ("C2", "S1", "between", "background")


@dataclass(frozen=True)
class Detection:
    """A vertebra that the detector found, or a point that the user gave for one.

    Parameters
    ----------
    centroid : x and y in pixels of the picture
    score : 0…1
    mask : boolean (rows, columns); None of a point
    """

    centroid: np.ndarray
    score: float
    mask: np.ndarray | None = None


class Parts:
    """The networks on their device, called with arrays.

    Parameters
    ----------
    run : with a `Network` in it
    channels : of the pictures that they take
    """

    def __init__(self, run: Runner, channels: int):
        self._run, self._channels, self.network = run, channels, run.network

    def detect(self, picture: np.ndarray, score: float) -> list[Detection]:
        """Return the vertebrae found in a picture (rows, columns) with at least this score."""
        with self._computing():
            found = self.network.detector.detect(self._batch([picture]), score=score)[0]
        masks, boxes = found["masks"].cpu().numpy() > 0, found["boxes"].float().cpu().numpy()
        scores = found["scores"].float().cpu().numpy()
        listed = []
        for mask, box, value in zip(masks, boxes, scores, strict=True):
            if value >= score:
                middle = np.array([box[0] + box[2], box[1] + box[3]], float) / 2 - 0.5
                listed.append(Detection(centre_of(mask) if mask.any() else middle, float(value), mask))
        return listed

    def encode(self, patches: Sequence[np.ndarray]) -> torch.Tensor:
        """Return the embeddings of patches, to be decoded with as many points as one likes."""
        with self._computing():
            return self.network.segmenter.encode(self._batch(patches))

    def decode(self, embedding: torch.Tensor, crops: Sequence[Crop], points: Sequence[np.ndarray]) -> np.ndarray:
        """Return the probabilities (n, size, size) of what lies at points of the picture, one a patch."""
        inside = [in_patch(crop, point) for crop, point in zip(crops, points, strict=True)]
        with self._computing():
            prompts = torch.tensor(inside, dtype=torch.float32, device=self._run.device)[:, None]
            logits = self.network.segmenter.decode(embedding, prompts)
            return torch.sigmoid(logits.float())[:, 0].cpu().numpy()

    def classify(self, patches: Sequence[np.ndarray]) -> list[dict[str, float]]:
        """Return the probability of each class for each patch."""
        with self._computing():
            chances = torch.softmax(self.network.classifier(self._batch(patches)).float(), dim=1).cpu().tolist()
        return [dict(zip(self.network.classifier.classes, each, strict=True)) for each in chances]

    def predict_next(self, centroids: Sequence[np.ndarray]) -> np.ndarray:
        """Return the next centroids (n, 2) of three each (3, 2)."""
        with self._computing():
            three = torch.tensor(np.stack(centroids), dtype=torch.float32, device=self._run.device)
            return self.network.predictor.predict_next(three).float().cpu().numpy().astype(float)

    def _batch(self, pictures: Sequence[np.ndarray]) -> torch.Tensor:
        stack = torch.from_numpy(np.ascontiguousarray(np.stack(pictures), dtype=np.float32))[:, None]
        stack = stack.repeat(1, self._channels, 1, 1)
        return stack.to(self._run.device, memory_format=torch.channels_last)

    @contextmanager
    def _computing(self):
        reduced = self._run.precision == "bfloat16"
        with torch.inference_mode(), torch.autocast(self._run.device, torch.bfloat16, enabled=reduced):
            yield


def centre_of(mask: np.ndarray) -> np.ndarray:
    """Return the centroid, x and y, of a mask (rows, columns) that is not empty."""
    rows, columns = np.nonzero(mask)
    return np.array([columns.mean(), rows.mean()])
