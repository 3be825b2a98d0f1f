"""Files in and out: DICOM, NIfTI, NRRD and .seg.nrrd, MetaImage, pictures, label maps, overlays.

Everything is read into the two values of `SpineSegLib.image`, with one geometry, one sense of brightness and one
wording of errors, whatever the format. Nothing of the patient's identity is carried along. Importing this package
loads neither SimpleITK nor pydicom.
"""

from SpineSegLib.io.atomic import all_written_whole, written_whole
from SpineSegLib.io.overlay import write_overlay
from SpineSegLib.io.reading import read_geometry, read_image, read_labelled_series, read_segmentation
from SpineSegLib.io.writing import write_image, write_segmentation

__all__ = [
    "all_written_whole",
    "read_geometry",
    "read_image",
    "read_labelled_series",
    "read_segmentation",
    "write_image",
    "write_overlay",
    "write_segmentation",
    "written_whole",
]
