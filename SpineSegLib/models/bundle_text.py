"""What the README of a bundle for machines without network says: the two commands of the install."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from SpineSegLib import __version__

_README = """SpineSeg {version}: weights and packages for a machine without network

{content}

On the machine without network, install the extensions SpineSeg and PyTorch first (Extensions Manager, 'Install from
file'), copy this folder there, and start Slicer. Put the folder's path in place of FOLDER in the two commands below,
which are for Slicer's Python console (View, Python Console).

1. The packages{made}

{packages}

2. The weights. Every checksum is compared before anything is installed. In the panel: Weights, 'Install bundle'. Or:

    import SpineSegLib.cli
    SpineSegLib.cli.main(["weights", "install-bundle", r"FOLDER", "--yes"])
"""

_WHEELS = """    import slicer.packaging
    slicer.packaging.pip_install(
        ["--no-index", "--find-links", r"FOLDER/wheels", "--require-hashes", "-r", r"FOLDER/requirements.txt"])

   or, in a terminal:

    PythonSlicer -m pip install --no-index --find-links FOLDER/wheels --require-hashes -r FOLDER/requirements.txt"""

_LIST = """    PythonSlicer -m pip install -r FOLDER/requirements.txt

   with your site's own package server in pip's settings: the wheels are not here (they are with --wheels)."""


def readme(
    weights: Sequence[tuple[str, int, str | None]], *, wheels: bool, platform: str | None, python: str | None
) -> str:
    """Return the text.

    Parameters
    ----------
    weights : model, bytes and licence of each file
    wheels : whether the packages are in the bundle
    platform, python : that these are for; this machine's unless given
    """
    lines = [
        f"- {model}: {count / 2**20:.1f} MiB, licence {licence or 'not stated'}" for model, count, licence in weights
    ]
    version = python or ".".join(map(str, sys.version_info[:2]))
    return _README.format(
        version=__version__,
        content="\n".join(["Weights of", *lines] if lines else ["No weights: there were none where it was written."]),
        made=f", for Python {version} on {platform or sys.platform}. Nothing is fetched:" if wheels else ":",
        packages=_WHEELS if wheels else _LIST,
    )
