"""Points from the user: where they arrive, and what is said when they are missing or outside."""

import numpy as np
import pytest
import torch

from SpineSegLib.errors import InputError
from SpineSegLib.image import Geometry, Image
from SpineSegLib.models import card
from SpineSegLib.pipelines import run as run_module
from SpineSegLib.pipelines import segment


class Around(torch.nn.Module):
    """Finds a disc around each point, and remembers the points."""

    stride = 16

    def __init__(self):
        super().__init__()
        self.points = []

    def prompted(self, x, points):
        self.points.append(points)
        y, x_ = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in x.shape[2:]), indexing="ij")
        near = torch.stack([(x_ - px) ** 2 + (y - py) ** 2 < 40**2 for px, py in points[0].tolist()])
        return 20 * (near.any(0)[None, None].float() - 0.5)


@pytest.fixture
def around(monkeypatch):
    network = Around()
    monkeypatch.setattr(run_module, "load_network", lambda model, weights=None: network)
    monkeypatch.setattr(run_module.Trial, "of", lambda *_: None)
    return network


def film(rows, columns, step=(0.2, 0.2)):
    array = np.random.default_rng(0).integers(0, 255, (1, rows, columns)).astype(np.uint8)
    return Image(array, Geometry(array.shape, np.diag([-step[1], -step[0], 1, 1])), "XR")


@pytest.mark.parametrize(
    ("shape", "step"), [((700, 500), (0.2, 0.2)), ((500, 700), (0.2, 0.2)), ((400, 400), (0.2, 0.1))]
)
def test_what_a_point_shows_is_found_around_it(around, shape, step):
    points = [(100.0, 60.0), (320.0, 290.0)]
    found = segment(film(*shape, step), card("sam"), points=points, device="cpu")
    mask = found.segmentation.mask("spinous processes")[0]
    from scipy import ndimage

    parts, count = ndimage.label(mask)
    assert count == 2
    centres = ndimage.center_of_mass(mask, parts, [1, 2])
    np.testing.assert_allclose(sorted((x, y) for y, x in centres), sorted(points), atol=0.6)


def test_without_a_point_one_line_says_how_to_give_one(around):
    with pytest.raises(InputError, match="--point X,Y") as error:
        segment(film(60, 80), card("sam"), device="cpu")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("point", [(80, 5), (-1, 5), (5, 60), (float("nan"), 5)])
def test_a_point_outside_of_the_image_is_refused(around, point):
    with pytest.raises(InputError, match="--point"):
        segment(film(60, 80), card("sam"), points=[point], device="cpu")


def test_a_model_that_finds_by_itself_takes_no_point(around):
    with pytest.raises(InputError, match="finds by itself"):
        segment(film(60, 80), card("unet-512"), points=[(1, 1)], device="cpu")


def test_points_are_read_from_the_command_line():
    from SpineSegLib.cli import _parser

    line = ["segment", "film.png", "--model", "sam", "--output", "x.nrrd", "--point", "3,4.5", "--point", "10,2"]
    assert _parser().parse_args(line).point == [(3.0, 4.5), (10.0, 2.0)]
    for wrong in ("3", "3,4,5", "a,b"):
        with pytest.raises(SystemExit):
            _parser().parse_args([*line[:-1], wrong])
