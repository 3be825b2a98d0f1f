"""Draw a CT's vertebrae in the colours of their levels: surfaces, a sagittal slice, a coronal one along the spine.

``python3 Testing/run.py python Testing/vertebrae_picture.py OUT.png [--image CT --segmentation FILE] [--seed 7501]``

Without files a digital patient is drawn: his true mask, in one, as `--vertebrae` splits it.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if sys.platform == "linux":
    os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
from PIL import Image as Picture  # noqa: E402
from scipy import ndimage  # noqa: E402

from SpineSegLib.image import Image, Reorientation, Segment, Segmentation  # noqa: E402
from SpineSegLib.pipelines.vertebrae.axis import axis_of  # noqa: E402

DARK = (0.055, 0.06, 0.075)
HEIGHT = 640
"""Pixels of the picture while it is drawn."""

SHOWN = 480
"""Pixels of the file, which stays below 150 KiB."""

WINDOW = (-160.0, 840.0)
"""Hounsfield units shown black and white, for bone and soft tissue at once."""


def digital_patient(seed: int, region: tuple[str, str], size: int = 200) -> tuple[Image, Segmentation]:
    """Return the CT of a digital patient and the vertebrae into which his spine is split."""
    from SpineSegLib.phantom.cases import Order, make_case
    from SpineSegLib.pipelines.vertebrae import split_into_vertebrae

    case = make_case(Order("ct", seed, size=size, slice_step=1.5, rotation=0.0, body={"region": region}), 0)
    kinds = ("vertebra", "sacrum")
    truth = [segment for segment in case.masks.segments if segment.structure.kind in kinds]
    spine = np.logical_or.reduce([case.masks.mask(segment) for segment in truth])
    top = truth[0].structure.level
    return case.image, split_into_vertebrae(spine, case.image.geometry, top_level=top).segmentation


def surface(mask: np.ndarray, softness: float = 0.8) -> tuple[np.ndarray, np.ndarray]:
    """Return vertices (n, 3) k, j, i and triangles (m, 3) of a mask's softened surface."""
    from skimage.measure import marching_cubes

    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    soft = ndimage.gaussian_filter(np.pad(mask[box], 3).astype(np.float32), softness)
    # A tip of a few voxels has no surface at one half once it is softened.
    points, triangles, *_ = marching_cubes(soft, min(0.5, float(soft.max()) / 2))
    return points - 3 + [part.start for part in box], triangles


def rendered(parts: list[tuple[np.ndarray, np.ndarray, tuple]], size: tuple[int, int], view: np.ndarray) -> np.ndarray:
    """Return a picture (h, w, 3) of surfaces in RAS mm, each with its colour 0…255, seen along `view`, head up."""
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray, vtk_to_numpy

    scene = vtk.vtkRenderer()
    scene.SetBackground(*DARK)
    for points, triangles, colour in parts:
        data, cells, places = vtk.vtkPolyData(), vtk.vtkCellArray(), vtk.vtkPoints()
        places.SetData(numpy_to_vtk(np.ascontiguousarray(points, np.float32), deep=True))
        corners = np.column_stack([np.full(len(triangles), 3), triangles]).astype(np.int64)
        cells.SetCells(len(triangles), numpy_to_vtkIdTypeArray(corners.ravel(), deep=True))
        data.SetPoints(places)
        data.SetPolys(cells)
        smooth = vtk.vtkWindowedSincPolyDataFilter()
        smooth.SetInputData(data)
        smooth.SetNumberOfIterations(15)
        smooth.SetPassBand(0.08)
        normals = vtk.vtkPolyDataNormals()
        normals.SetInputConnection(smooth.GetOutputPort())
        normals.SetFeatureAngle(90)
        normals.ConsistencyOn()
        normals.AutoOrientNormalsOn()
        mapper = vtk.vtkPolyDataMapper()
        mapper.SetInputConnection(normals.GetOutputPort())
        actor = vtk.vtkActor()
        actor.SetMapper(mapper)
        actor.GetProperty().SetColor(*(part / 255 for part in colour))
        actor.GetProperty().SetSpecular(0.18)
        actor.GetProperty().SetSpecularPower(18)
        actor.GetProperty().SetAmbient(0.12)
        scene.AddActor(actor)
    lights = vtk.vtkLightKit()
    lights.SetKeyLightIntensity(0.9)
    lights.AddLightsToRenderer(scene)
    every = np.concatenate([points for points, _, _ in parts])
    middle = (every.min(axis=0) + every.max(axis=0)) / 2
    camera = scene.GetActiveCamera()
    camera.ParallelProjectionOn()
    camera.SetFocalPoint(*middle)
    camera.SetPosition(*(middle - 1000 * view / np.linalg.norm(view)))
    camera.SetViewUp(0, 0, 1)
    camera.SetParallelScale(0.52 * np.ptp(every[:, 2]))
    scene.ResetCameraClippingRange()
    window = vtk.vtkRenderWindow()
    window.SetOffScreenRendering(1)
    window.SetMultiSamples(8)
    window.SetSize(*size)
    window.AddRenderer(scene)
    window.Render()
    grab = vtk.vtkWindowToImageFilter()
    grab.SetInput(window)
    grab.ReadFrontBufferOff()
    grab.Update()
    found = grab.GetOutput()
    width, height, _ = found.GetDimensions()
    return vtk_to_numpy(found.GetPointData().GetScalars()).reshape(height, width, -1)[::-1, :, :3]


def overlay(grey: np.ndarray, labels: np.ndarray, colours: np.ndarray, aspect: float, height: int) -> np.ndarray:
    """Return a slice (h, w, 3) with its labels in colour, rows from the head down, at the wanted height in pixels."""
    factor = height / grey.shape[0]
    zoom = (factor, factor * aspect)
    low, high = WINDOW
    picture = np.clip((ndimage.zoom(grey.astype(np.float32), zoom, order=1) - low) / (high - low), 0, 1)[..., None]
    here = ndimage.zoom(labels, zoom, order=0)
    near = ndimage.grey_erosion(here, (3, 3)) != ndimage.grey_dilation(here, (3, 3))
    weight = np.where(here > 0, np.where(near, 0.95, 0.45), 0)[..., None]
    return np.uint8(255 * ((1 - weight) * picture.repeat(3, axis=2) + weight * colours[here] / 255))


def bodies(mask: np.ndarray, step: float) -> np.ndarray:
    """Return for each row of an upright mask, `step` mm apart, how far to the back the middle of the bodies lies."""
    axis = axis_of(mask, step)
    if axis is None:
        return np.full(len(mask), mask.shape[1] // 2)
    rows, back = axis.points[::-1, 0], axis.points[::-1, 1]
    return np.clip(np.rint(np.interp(np.arange(len(mask)), rows, back)).astype(int), 0, mask.shape[1] - 1)


def draw(image: Image, segmentation: Segmentation) -> np.ndarray:
    """Return the picture, uint8 (h, w, 3)."""
    turn = Reorientation.of(image.geometry)
    upright = turn.geometry(image.geometry)
    segments: list[Segment] = list(segmentation.segments)
    labels = np.zeros(image.geometry.shape, np.uint8)
    for number, segment in enumerate(segments, start=1):
        labels[segmentation.mask(segment)] = number
    labels, grey = turn.apply(labels), turn.apply(image.array)
    parts = []
    for number, segment in enumerate(segments, start=1):
        points, triangles = surface(labels == number)
        parts.append((upright.to_world(points), triangles, segment.colour))
    size = (int(0.5 * HEIGHT), HEIGHT)
    panels = [rendered(parts, size, np.array(view)) for view in ((0.75, -0.65, -0.12), (-0.3, 1.0, -0.1))]
    colours = np.array([(0, 0, 0), *(segment.colour for segment in segments)], float)
    k, j, i = upright.step
    # The slice that shows most of the spine, smoothed so that not the edge of one process decides.
    middle = int(ndimage.gaussian_filter1d(np.sqrt((labels > 0).sum(axis=(0, 1))), 2.0).argmax())
    panels.append(overlay(grey[::-1, :, middle], labels[::-1, :, middle], colours, j / k, HEIGHT))
    curved = np.arange(len(labels)), bodies(labels > 0, k)
    panels.append(overlay(grey[curved][::-1], labels[curved][::-1], colours, i / k, HEIGHT))
    gap = np.full((HEIGHT, 8, 3), np.round(255 * np.array(DARK)), np.uint8)
    picture = np.concatenate([part for panel in panels for part in (gap, panel[:HEIGHT])][1:], axis=1)
    return named(picture, sum(p.shape[1] + 8 for p in panels[:2]), labels[::-1, :, middle], segments, j / k)


def named(picture: np.ndarray, left: int, labels: np.ndarray, segments: list[Segment], aspect: float) -> np.ndarray:
    """Write each level before its body in the sagittal slice, which begins at the column `left`."""
    from PIL import ImageDraw, ImageFont

    canvas = Picture.fromarray(picture)
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(17)
    factor = HEIGHT / labels.shape[0]
    for number, segment in enumerate(segments, start=1):
        rows, columns = np.nonzero(labels == number)
        if len(rows) < 0.2 * np.count_nonzero(labels) / len(segments):
            continue
        front = np.percentile(columns, 2)
        row = np.median(rows[columns < front + 0.25 * np.ptp(columns)])
        place = (left + front * factor * aspect - 12, row * factor)
        pen.text(place, segment.structure.level or segment.name, segment.colour, font, anchor="rm")
    return np.array(canvas)


def main() -> None:
    """Draw the picture."""
    parser = argparse.ArgumentParser(description="Draw a CT's vertebrae.")
    parser.add_argument("output", type=Path)
    parser.add_argument("--image", type=Path)
    parser.add_argument("--segmentation", type=Path)
    parser.add_argument("--seed", type=int, default=7501)
    parser.add_argument("--region", nargs=2, default=("T8", "L4"), metavar="LEVEL")
    options = parser.parse_args()
    if options.image and options.segmentation:
        from SpineSegLib.io import read_image, read_segmentation

        image, segmentation = read_image(options.image, modality="CT"), read_segmentation(options.segmentation)
    else:
        image, segmentation = digital_patient(options.seed, tuple(options.region))
    picture = Picture.fromarray(draw(image, segmentation))
    small = picture.resize((round(picture.width * SHOWN / HEIGHT), SHOWN), Picture.Resampling.LANCZOS)
    small.quantize(128, dither=Picture.Dither.NONE).save(options.output, optimize=True)
    print(f"{options.output}: {options.output.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
