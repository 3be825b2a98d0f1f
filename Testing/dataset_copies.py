"""Small exact copies of the on-disk formats of public data sets, written for tests; nothing is downloaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image as Pillow


def write_picture(path: Path, array: np.ndarray, **options: object) -> np.ndarray:
    """Write a picture of any kind that Pillow knows, with its folder; return the array."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(array).save(path, **options)
    return array


def film(rows: int = 40, columns: int = 30, seed: int = 0) -> np.ndarray:
    """Return an 8-bit grey picture without symmetries."""
    rng = np.random.default_rng(seed)
    ramp = np.add.outer(np.arange(rows) * 3, np.arange(columns) * 2)
    return (ramp + rng.integers(0, 20, (rows, columns))).astype(np.uint8)


SPIDER_COLOURS = {"L5": (255, 0, 0), "L4": (0, 255, 0), "T11": (128, 128, 128)}


def write_spider_slices(folder: Path, names: tuple[str, ...] = ("10008_12", "10009_3", "10011_0")) -> dict[str, object]:
    """Write slices as they are stored: upside down; return the upright image and label -> upright mask."""
    upright = film(40, 30)
    masks = {level: np.zeros((40, 30), bool) for level in SPIDER_COLOURS}
    masks["L5"][28:35, 5:15] = masks["L4"][20:27, 6:16] = masks["T11"][1:6, 8:18] = True
    colours = np.zeros((40, 30, 3), np.uint8)
    for level, mask in masks.items():
        colours[mask] = SPIDER_COLOURS[level]
    for name in names:
        write_picture(folder / "images" / f"{name}.png", np.ascontiguousarray(upright[::-1]))
        write_picture(folder / "masks" / f"{name}.png", np.ascontiguousarray(colours[::-1]))
    return {"image": upright, "masks": masks}


def spine_film(quads: dict[str, np.ndarray], rows: int, columns: int, seed: int = 0) -> np.ndarray:
    """Return an 8-bit film: air, a strip of soft tissue, bright bodies inside the corners."""
    from skimage.draw import polygon

    rng = np.random.default_rng(seed)
    picture = np.full((rows, columns), 20.0)
    picture[:, columns // 6 : -columns // 6] = 90
    for points in quads.values():
        if len(points) == 4:
            inside = polygon(points[[0, 1, 3, 2], 1], points[[0, 1, 3, 2], 0], (rows, columns))
            picture[inside] = 170
    return (picture + rng.normal(0, 6, picture.shape)).clip(0, 255).astype(np.uint8)


def ladder(
    levels: tuple[str, ...], *, left: float = 60, width: float = 40, top: float = 20, height: float = 14
) -> dict:
    """Return level -> (4, 2) corners top left, top right, bottom left, bottom right, slanting and getting wider."""
    quads = {}
    for n, level in enumerate(levels):
        x, y, w = left + 2.25 * n, top + n * (height + 4), width + n
        quads[level] = np.array([[x, y], [x + w, y + 3.5], [x + 1, y + height], [x + w + 1.5, y + height + 2]])
    return quads


CSXA_ENDS = ("top left", "top right", "bottom left", "bottom right")


def write_csxa(
    folder: Path, name: str = "0012345", *, flat: bool = False, inverted: bool = False, extra: dict | None = None
) -> dict:
    """Write a film and its JSON, labelme's or flat; return level -> corners (C2 with its lower endplate)."""
    import json

    quads = ladder(("C2", "C3", "C4", "C5", "C6", "C7"))
    picture = spine_film({level: quads[level] for level in quads if level != "C2"}, 150, 180)
    write_picture(folder / f"{name}.png", 255 - picture if inverted else picture)
    points = {"C2 centroid": quads["C2"].mean(axis=0)}
    points |= {
        f"{level} {end}": quads[level][n]
        for level in quads
        for n, end in enumerate(CSXA_ENDS)
        if level != "C2" or n > 1
    }
    plain = {key: [float(v) for v in value] for key, value in points.items()}
    if flat:
        content = {"sex": "F", "age": 41, "C2S": 12.5, "C2-7Cobb": 8.1, **plain}
    else:
        shapes = [{"label": key, "points": [value], "shape_type": "point"} for key, value in plain.items()]
        content = {"version": "5.1.1", "flags": {}, "shapes": shapes, "imagePath": f"{name}.png", "imageData": None}
        content |= {"imageHeight": 150, "imageWidth": 180}
    content |= extra or {}
    (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return {level: quad[2:] if level == "C2" else quad for level, quad in quads.items()}


AASCE_LEVELS = (*(f"T{n}" for n in range(1, 13)), *(f"L{n}" for n in range(1, 6)))


def write_aasce(root: Path, *, mats: bool = True, names: tuple[str, ...] = ("sunhl-1th-03-Jan-2017-162 A AP.jpg",)):
    """Write both parts of the set below `root`/boostnet_labeldata; return level -> corners."""
    from scipy.io import savemat

    quads = ladder(AASCE_LEVELS, left=50, width=30, height=12)
    points = np.concatenate([quads[level] for level in AASCE_LEVELS])
    rows, columns = 320, 160
    for part in ("training", "test"):
        labels = root / "boostnet_labeldata" / "labels" / part
        labels.mkdir(parents=True)
        for name in names:
            picture = spine_film(quads, rows, columns)
            write_picture(root / "boostnet_labeldata" / "data" / part / name, picture, quality=95)
            if mats:
                savemat(labels / f"{name}.mat", {"p2": points})
        flat = ",".join(f"{v:.8f}" for v in (points / [columns, rows]).T.ravel())
        (labels / "filenames.csv").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
        (labels / "landmarks.csv").write_text(f"{flat}\n" * len(names), encoding="utf-8")
        (labels / "angles.csv").write_text("20.1,10.2,5.3\n" * len(names), encoding="utf-8")
    return quads


def write_buu(folder: Path, *, person: str = "0001-F-037", header: bool = False, labels: bool = True) -> dict:
    """Write the frontal and the lateral film of a person; return view -> level -> corners."""
    truth = {}
    for view, suffix, levels in (("AP", "Y0", 5), ("LA", "Y1", 6)):
        quads = ladder(("L1", "L2", "L3", "L4", "L5", "S1")[:levels])
        if view == "LA":
            quads["S1"] = quads["S1"][:2]
        picture = spine_film(quads, 150, 180)
        write_picture(folder / view / f"{person}{suffix}.jpg", picture, quality=95)
        lines = ["x1,y1,x2,y2,label"] if header else []
        for quad in quads.values():
            for plate in quad.reshape(-1, 4):
                lines.append(",".join(f"{v:g}" for v in plate) + (",0" if labels else ""))
        (folder / view / f"{person}{suffix}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        truth[view] = quads
    return truth


NHANES_SIZES = {"C": (1755, 1463), "L": (2487, 2048)}


def nhanes_points(levels: tuple[str, ...], scale: float = 6.0) -> dict[str, np.ndarray]:
    """Return level -> seven points round a body: four corners and a point on three of its sides."""
    points = {}
    for level, quad in ladder(levels, left=80).items():
        a, b, d, c = quad * scale
        points[level] = np.round(np.array([a, (a + b) / 2 + [0, 4], b, c, (c + d) / 2, d, (d + a) / 2 + [5, 0]]), 1)
    return points


def write_nhanes(
    folder: Path, name: str = "C02213", *, order: str = "<u2", form: str = "line"
) -> dict[str, np.ndarray]:
    """Write a raw film of the true size and its marks in one of the forms; return level -> points."""
    levels = ("C3", "C4", "C5") if name[0] == "C" else ("L1", "L2", "L3")
    points = nhanes_points(levels)
    rows, columns = NHANES_SIZES[name[0]]
    from skimage.draw import polygon

    picture = np.full((rows, columns), 900.0)
    picture += np.linspace(0, 300, columns)
    for outline in points.values():
        picture[polygon(outline[:, 1], outline[:, 0], picture.shape)] = 2700
    picture = (picture + np.random.default_rng(1).integers(0, 200, picture.shape)).astype(np.uint16)
    for part in ("fullres", "marks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / "fullres" / f"{name}.nh2").write_bytes(picture.astype(order).tobytes())
    lines = ["# level and points"]
    for level, outline in points.items():
        if form == "line":
            lines.append(f"{level}: " + ", ".join(f"{x} {y}" for x, y in outline))
        elif form == "block":
            lines += [level.lower(), *(f"{x}\t{y}" for x, y in outline), ""]
        else:
            lines += [f"{level} {n} {x} {y}" for n, (x, y) in reversed(list(enumerate(outline, start=1)))]
    (folder / "marks" / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="ascii")
    return points | {"film": picture}
