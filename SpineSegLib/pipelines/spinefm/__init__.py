"""SpineFM: vertebra after vertebra, by induction along the spine.

Paper 001: Simons and Papież, SpineFM: leveraging foundation models for automatic spine X-ray segmentation, ISBI 2025,
arXiv 2411.00326. Three successive vertebrae are found by a detector (`candidates`); from them the next ones are
predicted, segmented and judged, upwards and downwards, until an end is reached (`walk`); masks are smoothed and brought
to the picture's size (`finishing`); levels follow from the end of the spine that was seen (`naming`).
"""

from SpineSegLib.pipelines.spinefm.pipeline import spinefm

__all__ = ["spinefm"]
