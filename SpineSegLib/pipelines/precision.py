"""Whether bfloat16 may stand in for float32: tried on this machine, with these weights, on an image of the user's.

`segment` tries it once where it can pay: the first image goes through the network in both precisions. If bfloat16 is
faster and every mask keeps a Dice of 0.998 with float32's, later images with the same weights on the same machine are
segmented in bfloat16; the first one keeps float32's result. One image is a check and no proof: who wants to be sure
asks for float32.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from SpineSegLib.io import written_whole
from SpineSegLib.models import Card, weights_file, weights_folder

if TYPE_CHECKING:
    import torch

AGREEMENT = 0.998
"""Dice that the masks of the two precisions must reach, each of them."""
GAIN = 0.9
"""Share of float32's time that bfloat16 may take at most."""
WORTH = 50_000_000_000
"""Multiply-adds of a picture below which float32 is quick enough and nothing is tried."""


@dataclass
class Trial:
    """What is known of bfloat16 for a model's weights on this machine.

    Parameters
    ----------
    key : of weights and machine
    verdict : ``"bfloat16"``, ``"float32"``, or None where it has not been tried
    """

    key: str
    verdict: str | None = None

    @classmethod
    def of(cls, model: Card, weights: str | Path | None, device: str) -> Trial | None:
        """Return what is known for the model's weights, or for a file instead; None where a trial cannot pay."""
        import torch

        counts = model.network.get("counts")
        if not counts or counts["multiply_adds"] < WORTH:
            return None
        file = weights_file(model, weights).stat()
        machine = (platform.machine(), platform.processor(), torch.backends.cpu.get_cpu_capability(), torch.__version__)
        facts = (model.name, file.st_size, file.st_mtime_ns, device, *machine)
        key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]
        return cls(key, _notes().get(key, {}).get("verdict"))

    def conclude(self, exact: torch.Tensor, rounded: torch.Tensor, seconds: float, seconds_rounded: float) -> None:
        """Compare probabilities (n, classes, h, w), or of volumes, of both precisions and note the verdict.

        Where neither finds anything there is nothing to compare, and the next image will tell.
        """
        dice = worst_dice(exact, rounded)
        if dice is None:
            return
        good = dice >= AGREEMENT and seconds_rounded <= GAIN * seconds
        self.verdict = "bfloat16" if good else "float32"
        notes = {**_notes(), self.key: {"verdict": self.verdict, "dice": dice, "times": [seconds, seconds_rounded]}}
        with contextlib.suppress(OSError):  # Without a note the next image is a trial again.
            _file().parent.mkdir(parents=True, exist_ok=True)
            with written_whole(_file()) as part:
                part.write_text(json.dumps(notes, indent=1), encoding="utf-8")


def worst_dice(one: torch.Tensor, two: torch.Tensor) -> float | None:
    """Return the smallest Dice over the classes of masks at probability 0.5; None where there are no masks."""
    a, b = one.flatten(2) > 0.5, two.flatten(2) > 0.5
    axes = (0, 2)
    sizes = a.sum(axes) + b.sum(axes)
    found = [float(2 * both / size) for both, size in zip((a & b).sum(axes), sizes, strict=True) if size]
    return min(found, default=None)


def _file() -> Path:
    return weights_folder() / "precision.json"


def _notes() -> dict[str, dict]:
    try:
        notes = json.loads(_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    good = isinstance(notes, dict) and all(isinstance(note, dict) for note in notes.values())
    return notes if good else {}
