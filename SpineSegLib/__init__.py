"""SpineSeg's library: everything that computes, for the Slicer panel, the command line and scripts alike.

Importing this package is light on purpose: no torch, no SimpleITK, no Slicer. Import what you need from its rooms,
for instance ``from SpineSegLib.image import Image`` or ``from SpineSegLib.pipelines import segment``.
"""

__version__ = "0.1.0"
