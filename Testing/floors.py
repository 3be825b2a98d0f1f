"""The rules that keep the house, checked on the source text: what may import what, and what the product never does.

`violations` reads every file of ``SpineSegLib`` and ``SpineSeg`` with `ast`, imports inside functions and under
``TYPE_CHECKING`` included.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

FLOORS = {
    **dict.fromkeys(("anatomy", "image", "errors", "progress", "resources", "terminology"), 0),
    **dict.fromkeys(("io", "networks", "phantom"), 1),
    **dict.fromkeys(("datasets", "models", "evaluation.kinds", "evaluation.metrics"), 2),
    **dict.fromkeys(("pipelines", "training", "measurements"), 3),
    **dict.fromkeys(("benchmarks", "evaluation", "mrml"), 4),
    **dict.fromkeys(("cli",), 5),
    **dict.fromkeys(("__main__",), 6),
}
"""Room -> floor; a room imports from itself and from lower floors (on floor 0 also from its neighbours)."""

SLICER_PACKAGES = {"slicer", "vtk", "vtkmodules", "qt", "ctk", "MRMLCorePython", "vtkSegmentationCore", "PySide6"}
TORCH_PACKAGES = {"torch", "torchvision", "monai", "lightning", "segment_anything", "timm", "safetensors"}
FILE_PACKAGES = {"SimpleITK", "pydicom", "highdicom", "nibabel", "PIL", "safetensors", "yaml"}
NEVER = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib", "ultralytics"}
"""Unpickling runs what a file says; ultralytics is AGPL."""
WEB = {"urllib.request", "http", "requests", "httpx", "aiohttp", "socket", "ftplib"}
"""Only `models` may fetch, weights that the user asks for."""


def unknown_to(room: str) -> set[str]:
    """Return the packages that a room must not import: only `mrml` knows Slicer, and `mrml` knows no torch."""
    if room == "SpineSeg":
        return NEVER | WEB | TORCH_PACKAGES | {"SimpleITK", "PySide6"}
    if room == "mrml":
        return NEVER | WEB | TORCH_PACKAGES | {"PySide6"}
    found = NEVER | SLICER_PACKAGES | (set() if room == "models" else WEB)
    return found | FILE_PACKAGES if room == "networks" else found


NETWORKS_KNOW = {"networks"}
"""`networks` are tensors in, tensors out: no files, no geometry, no card."""
PANEL_KNOWS = {"mrml"}
"""Rooms that ``SpineSeg/`` may import; the rest it reaches through the command line, in another process."""
DANGEROUS_CALLS = {"eval", "exec", "compile", "__import__"}

TOP_LEVEL = {"CMakeLists.txt", "LICENSE", "README.md", "Resources", "SpineSeg", "SpineSegLib", "Testing"}
"""What lies in the repository's root, besides names with a dot."""


def room_of(module: str) -> str:
    """Return the room of a dotted module below SpineSegLib; two below ``evaluation`` are of their own."""
    parts = module.split(".")
    pair = ".".join(parts[:2])
    return pair if pair in FLOORS else parts[0]


def imports(tree: ast.AST, package: str) -> Iterator[tuple[int, str]]:
    """Yield line and full dotted name of everything imported; relative ones are resolved against `package`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield node.lineno, name.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                start = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*start, *([node.module] if node.module else [])])
            for name in node.names:
                # `from SpineSegLib import io` imports a room, `from SpineSegLib.io import read_image` a name in one.
                yield node.lineno, f"{base}.{name.name}"


def _room_imported(name: str) -> str | None:
    """Return the room that an imported dotted name lies in, or None when it is not SpineSegLib's or is its root."""
    parts = name.split(".")
    if parts[0] != "SpineSegLib" or len(parts) < 2 or parts[1].startswith("__version"):
        return None
    return room_of(".".join(parts[1:]))


def _import_violations(tree: ast.AST, package: str, room: str) -> Iterator[tuple[int, str]]:
    for line, name in imports(tree, package):
        other = _room_imported(name)
        package_names = {name.split(".")[0], ".".join(name.split(".")[:2])}
        for known in sorted(package_names & unknown_to(room)):
            yield line, f"{room} must not import {known}"
        if other is None:
            continue
        if other not in FLOORS:
            yield line, f"{other} is no room of SpineSegLib; give it a floor"
        elif room == "SpineSeg":
            if other not in PANEL_KNOWS:
                yield line, f"SpineSeg knows only {', '.join(sorted(PANEL_KNOWS))} of SpineSegLib, not {other}"
        elif room == "networks":
            if other not in NETWORKS_KNOW:
                yield line, f"networks must not import {other}"
        elif other != room and FLOORS[other] >= FLOORS[room] > 0:
            yield line, f"{room} (floor {FLOORS[room]}) must not import {other} (floor {FLOORS[other]})"
        elif FLOORS[room] == 0 and FLOORS[other] > 0:
            yield line, f"{room} (floor 0) must not import {other} (floor {FLOORS[other]})"


def _call_violations(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        if called in DANGEROUS_CALLS:
            yield node.lineno, f"{called}() runs what a file says"
        if called == "torch.load" and options.get("weights_only") != "True":
            yield node.lineno, "torch.load without weights_only=True"
        if called.endswith(("np.load", "numpy.load")) and options.get("allow_pickle", "False") != "False":
            yield node.lineno, "numpy.load with allow_pickle"
        if called == "torch.jit.load" or called.endswith("read_pickle"):
            yield node.lineno, f"{called} runs what a file says"
        if options.get("shell") == "True":
            yield node.lineno, "shell=True runs what a file name says"
        if called in ("yaml.load", "yaml.unsafe_load", "yaml.full_load"):
            yield node.lineno, f"{called} makes objects of a file's choice; use yaml.safe_load"


def violations(root: Path) -> list[str]:
    """Return a line ``file:line: what`` for every broken rule under `root`, and one for every stray name in it."""
    found = []
    for path in sorted([*root.glob("SpineSegLib/**/*.py"), *root.glob("SpineSeg/**/*.py")]):
        relative = path.relative_to(root)
        parts = relative.with_suffix("").parts
        is_package = parts[-1] == "__init__"
        package = ".".join(parts[:-1])
        if parts[0] == "SpineSeg":
            room = "SpineSeg"
        else:
            inside = parts[1:-1] if is_package else parts[1:]
            room = room_of(".".join(inside)) if inside else "__init__"
        if room not in (*FLOORS, "SpineSeg", "__init__"):
            found.append(f"{relative.as_posix()}:1: {room} is no room of SpineSegLib; give it a floor")
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
        broken = list(_call_violations(tree))
        if room == "__init__":
            named = [(line, name) for line, name in imports(tree, package) if not name.startswith("__future__")]
            broken += [
                (line, f"SpineSegLib's root imports {name}; it stays empty to stay light") for line, name in named
            ]
        else:
            broken += _import_violations(tree, package, room)
        found += [f"{relative.as_posix()}:{line}: {what}" for line, what in broken]
    return found


def strays(names: list[str]) -> list[str]:
    """Return the names in the repository's root that have no place there."""
    return sorted(name for name in names if not name.startswith(".") and name not in TOP_LEVEL)
