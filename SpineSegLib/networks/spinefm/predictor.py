"""SpineFM's point predictor: the centroids of three successive vertebrae -> that of the next.

Paper 001 (SpineFM, ISBI 2025, arXiv 2411.00326, section 3.4.4): six inputs, 50 hidden units with ReLU, two outputs.

The paper does not say in which frame the coordinates are; the authors' code divides them by the picture's width and
height. Here they are taken to a frame that goes with the spine (`frame_of`), so that one predictor works up and down,
on either side of a film, at every size and in a film that lies on its side.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


def frame_of(centroids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return origin (n, 1, 2) and axes (n, 2, 2) of the frame of three centroids (n, 3, 2).

    The origin is the last centroid. The first axis leads from the first centroid to the last, the second is the first
    turned by 90 degrees as x turns to y; both are as long as the mean of the two steps.
    """
    first, middle, last = centroids.unbind(dim=1)
    along = last - first
    step = ((middle - first).norm(dim=1) + (last - middle).norm(dim=1))[:, None] / 2
    along = along / along.norm(dim=1, keepdim=True).clamp(min=1e-6) * step.clamp(min=1e-6)
    across = torch.stack([-along[:, 1], along[:, 0]], dim=1)
    return last[:, None], torch.stack([along, across], dim=1)


def normalised(points: torch.Tensor, frame: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Return points (n, m, 2) in a frame, see `frame_of`."""
    origin, axes = frame
    return (points - origin) @ axes.transpose(1, 2) / axes[:, :1].square().sum(dim=2, keepdim=True)


def placed(points: torch.Tensor, frame: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Return points (n, m, 2) of a frame in pixels: the inverse of `normalised`."""
    origin, axes = frame
    return points @ axes + origin


class Predictor(nn.Module):
    """Three centroids, six numbers, 50 hidden units, two numbers.

    Parameters
    ----------
    hidden : units
    """

    score_name = "1 / (1 + mean distance from the next centroid in steps)"

    def __init__(self, hidden: int = 50):
        super().__init__()
        self.hidden, self.output = nn.Linear(6, hidden), nn.Linear(hidden, 2)

    def forward(self, centroids: torch.Tensor) -> torch.Tensor:
        """Return the next centroid (n, 2) of three (n, 6): x, y of each in turn, all in the frame of `frame_of`."""
        return self.output(torch.relu(self.hidden(centroids)))

    def predict_next(self, centroids: torch.Tensor) -> torch.Tensor:
        """Return the next centroid (n, 2) of three (n, 3, 2), the last being the newest; x and y in pixels, float32."""
        centroids = centroids.float()
        frame = frame_of(centroids)
        kind = centroids.device.type
        with torch.autocast("cpu" if kind == "meta" else kind, enabled=False):
            return placed(self(normalised(centroids, frame).flatten(1))[:, None], frame)[:, 0]

    def training_loss(self, centroids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean squared distance along an axis, in steps, from the next centroids (n, 2) in pixels."""
        frame = frame_of(centroids)
        found = normalised(self.predict_next(centroids)[:, None], frame)
        return functional.mse_loss(found, normalised(targets[:, None], frame))

    @torch.no_grad()
    def validation_score(self, centroids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return 1 / (1 + d), d being the mean distance from the next centroid in steps."""
        frame = frame_of(centroids)
        found = normalised(self.predict_next(centroids)[:, None], frame)
        return 1 / (1 + (found - normalised(targets[:, None], frame)).norm(dim=2).mean())
