"""Corrections by hand: what changes, and that nothing else does; on an oblique, anisotropic grid and on films."""

from dataclasses import replace

import numpy as np
import pytest

from SpineSegLib.anatomy import Structure
from SpineSegLib.errors import InputError
from SpineSegLib.image import Geometry, Segment, Segmentation
from SpineSegLib.io import read_segmentation, write_segmentation
from SpineSegLib.pipelines.editing import (
    add_mask,
    level_notes,
    merge,
    relabel,
    remove,
    split_at_line,
    split_at_seeds,
    vertebrae_of,
)
from SpineSegLib.pipelines.levels import vertebrae_segmentation


@pytest.fixture
def grid(oblique):
    """An oblique grid of several slices, anisotropic and sheared by a transform; its k axis climbs."""
    parent = np.array([[1.1, 0.2, 0, 5], [-0.1, 0.9, 0.05, -3], [0, 0.1, 1.3, 7], [0, 0, 0, 1]])
    return replace(oblique.transformed(parent), shape=(40, 14, 17))


def stack(geometry, levels, *, height=5, kind="vertebra"):
    """Boxes from the last slices (the head) down, one slice between each two."""
    masks = []
    for number in range(len(levels)):
        mask = np.zeros(geometry.shape, bool)
        top = geometry.shape[0] - 1 - number * (height + 1)
        mask[top - height + 1 : top + 1, 3:9, 4:12] = True
        masks.append(mask)
    return vertebrae_segmentation(masks, levels, geometry, kind=kind)


def film(levels, parts=("body",)):
    """A film, the head at the top; bodies of 8 rows, and processes beside them that overlap the next body."""
    geometry = Geometry((1, 80, 40), np.diag([-0.4, -0.3, 1.0, 1.0]))
    items = []
    for number, level in enumerate(levels):
        for part in parts:
            mask = np.zeros(geometry.shape, bool)
            row = 2 + 10 * number
            mask[0, row : row + 8, 10:22] = part == "body"
            if part == "spinous process":
                mask[0, row + 6 : row + 12, 18:30] = True
            items.append((Structure(part, level), mask))
    return Segmentation.from_masks(items, geometry)


def voxels(segmentation):
    return {segment.name: segmentation.mask(segment) for segment in segmentation.segments}


def same_voxels(a, b, names):
    before, after = voxels(a), voxels(b)
    return all((before[name] == after[name]).all() for name in names)


def test_one_level_names_all_others_and_moves_no_voxel(grid):
    found = stack(grid, [None] * 4)
    assert [one.name for one in vertebrae_of(found)][1] == "unlabelled, 2nd from the top"
    named = relabel(found, "#2", "C5")
    assert [segment.name for segment in named.segments] == ["C4", "C5", "C6", "C7"]
    for old, new in zip(found.segments, named.segments, strict=True):
        assert new.structure == Structure("vertebra", new.name)
        assert new.colour == new.structure.colour
        assert new.edited
        assert not old.edited
        assert (found.mask(old) == named.mask(new)).all()


def test_parts_and_discs_follow_their_vertebra_and_doubt_goes():
    found = film(["C3", "C4", "C5"], ("body", "spinous process"))
    disc = np.zeros(found.geometry.shape, bool)
    disc[0, 10:12, 10:22] = True
    items = [(s.structure, found.mask(s)) for s in found.segments] + [(Structure("disc", "C3/C4"), disc)]
    found = Segmentation.from_masks(items, found.geometry)
    doubtful = replace(found.segments[0], name="C3 body (doubtful)")
    found = replace(found, segments=(doubtful, *found.segments[1:]))
    named = relabel(found, "C3", "C4")
    assert [s.name for s in named.segments] == [
        *("C4 body", "C4 spinous process", "C5 body", "C5 spinous process", "C6 body", "C6 spinous process"),
        "C4/C5 disc",
    ]
    assert named.segments[1].structure.region.meaning == "C4 vertebra"
    assert relabel(found, "C3", "C3").segments[0].name == "C3 body"
    untouched = relabel(found, "C4", "C4").segments[2]
    assert untouched is found.segments[2]
    with pytest.raises(InputError, match="disc C3/C4"):
        relabel(found, "C3", "C1")


@pytest.mark.parametrize(("which", "level"), [("#1", "C2"), ("#3", "C1"), ("#1", "L4"), ("#2", "C9")])
def test_running_out_of_levels_is_one_line_and_nothing_happens(grid, which, level):
    found = stack(grid, [None] * 4)
    if (which, level) == ("#1", "C2"):
        assert relabel(found, which, level).segments[3].name == "C5"
        return
    with pytest.raises(InputError, match=r"relabel|--top-level") as error:
        relabel(found, which, level)
    assert "\n" not in str(error.value)


def test_levels_that_some_people_have_are_kept_and_named_on_request(grid):
    thirteen = stack(grid, ["T11", "T12", "T13", "L1"])
    assert [s.name for s in relabel(thirteen, "L1", "L1").segments] == ["T11", "T12", "T13", "L1"]
    assert [s.name for s in relabel(thirteen, "T13", "L1").segments] == ["T11", "T12", "L1", "L2"]
    plain = stack(grid, ["T11", "T12", "L1", "L2"])
    assert [s.name for s in relabel(plain, "T12", "T12", extra=["T13"]).segments] == ["T11", "T12", "T13", "L1"]
    assert [s.name for s in relabel(plain, "L2", "L2", missing=["T12"]).segments] == ["T10", "T11", "L1", "L2"]


def test_a_level_left_out_stays_left_out_only_where_there_is_room():
    with_hole = remove(film(["C3", "C4", "C5", "C6", "C7"]), "C5")
    assert [s.structure.level for s in relabel(with_hole, "C3", "C4").segments] == ["C4", "C5", "C7", "T1"]
    wrong = replace(film(["C3", "C4", "C5"]))
    segments = [*wrong.segments[:2], replace(wrong.segments[2], structure=Structure("body", "C6"), name="C6 body")]
    wrong = replace(wrong, segments=tuple(segments))
    assert "a level is left out" in level_notes(wrong)[0]
    assert [s.structure.level for s in relabel(wrong, "C4", "C4").segments] == ["C3", "C4", "C5"]


def test_merging_keeps_the_name_and_all_other_voxels(grid):
    found = stack(grid, ["C3", "C4", "C5", "C6"])
    merged = merge(found, "C4", "C5")
    assert [s.name for s in merged.segments] == ["C3", "C4", "C6"]
    both = found.mask("C4") | found.mask("C5")
    assert (merged.mask("C4") == both).all()
    assert same_voxels(found, merged, ["C3", "C6"])
    assert merged.find("C4").edited == "merged with C5"
    assert not merged.find("C3").edited
    assert "a level is left out" in level_notes(merged)[0] or "missed" in level_notes(merged)[0]
    with pytest.raises(InputError, match="not neighbours"):
        merge(found, "C3", "C5")


def test_merging_in_layers_covers_nobody():
    """C4's process covers part of C5's body, which lies in another layer."""
    found = film(["C3", "C4", "C5", "C6"], ("body", "spinous process"))
    merged = merge(found, "C4", "C5")
    for part in ("body", "spinous process"):
        assert (merged.mask(f"C4 {part}") == found.mask(f"C4 {part}") | found.mask(f"C5 {part}")).all()
        assert same_voxels(found, merged, [f"C3 {part}", f"C6 {part}"])
    assert len(merged.segments) == 6


def test_a_line_cuts_along_itself_on_the_film():
    found = film(["C3", "C4"], ("body", "spinous process"))
    points = found.geometry.to_world(np.array([[0, 4.45, 5], [0, 6.45, 25]]))
    split = split_at_line(found, "C3", points)
    rows, columns = np.nonzero(found.mask("C3 body")[0])
    above = rows < 4.45 + (columns - 5) * 0.1
    top = np.zeros(found.geometry.shape, bool)
    top[0, rows[above], columns[above]] = True
    assert (split.mask("C3 body") == top).all()
    # No level is free between C3 and C4; the process lies below the line as a whole.
    assert [one.name for one in vertebrae_of(split)] == ["C3", "unlabelled, 2nd from the top", "C4"]
    body, process = (split.segments[number] for number in vertebrae_of(split)[1].members)
    lower, process = (body, process) if body.structure.kind == "bodies" else (process, body)
    assert process.structure.kind == "spinous processes"
    assert (split.mask(process) == found.mask("C3 spinous process")).all()
    assert (split.mask(lower) == found.mask("C3 body") & ~top).all()
    assert lower.colour not in {s.colour for s in found.segments}
    assert same_voxels(found, split, ["C4 body", "C4 spinous process"])
    levels = {s.name for s in relabel(split, "#2", "C4").segments}
    assert levels == {f"{n} body" for n in ("C3", "C4", "C5")} | {f"{n} spinous process" for n in ("C4", "C5")}


def test_a_line_in_a_volume_cuts_across_the_spine(grid):
    found = stack(grid, ["C3", "C4", "C6"])
    middle = vertebrae_of(found)[1].centre
    across = grid.to_world([0, 0, 1.0]) - grid.to_world([0, 0, 0])
    split = split_at_line(found, "C4", np.stack([middle - 3 * across, middle + 2 * across]))
    assert [s.name for s in split.segments] == ["C3", "C4", "C5", "C6"]
    upper, lower = split.mask("C4"), split.mask("C5")
    assert (upper ^ lower == found.mask("C4")).all()
    assert not (upper & lower).any()
    axis = vertebrae_of(found)[0].centre - vertebrae_of(found)[2].centre
    heights = [(grid.to_world(np.argwhere(part)) - middle) for part in (upper, lower)]
    along = across / np.linalg.norm(across)
    normal = axis - (axis @ along) * along
    assert (heights[0] @ normal).min() > 0 >= (heights[1] @ normal).max()
    assert same_voxels(found, split, ["C3", "C6"])
    with pytest.raises(InputError, match="along the spine"):
        split_at_line(found, "C4", np.stack([middle, middle + axis]))
    with pytest.raises(InputError, match="the line lies above it"):
        split_at_line(found, "C4", np.stack([middle + axis, middle + axis + across]))
    with pytest.raises(InputError, match="both points are one"):
        split_at_line(found, "C4", np.stack([middle, middle]))


def test_seeds_part_two_that_touch_in_a_waist():
    geometry = Geometry((1, 60, 40), np.diag([-0.4, -0.3, 1.0, 1.0]))
    both = np.zeros(geometry.shape, bool)
    both[0, 5:20, 8:30] = both[0, 21:36, 8:30] = both[0, 20, 18:21] = True
    both[0, 45:48, 10:20] = True  # a piece that touches neither
    next_one = np.zeros(geometry.shape, bool)
    next_one[0, 50:58, 8:30] = True
    found = vertebrae_segmentation([both, next_one], ["C3", "C5"], geometry)
    # The lower seed first: which part is the upper one does not depend on the order.
    split = split_at_seeds(found, "C3", geometry.to_world(np.array([[0, 28, 20], [0, 12, 20]])))
    assert [s.name for s in split.segments] == ["C3", "C4", "C5"]
    assert np.nonzero(split.mask("C3")[0])[0].max() <= 20
    assert split.mask("C3")[0, 5:20].sum() == 15 * 22
    assert (split.mask("C3") | split.mask("C4") == both).all()
    with pytest.raises(InputError, match="outside of it"):
        split_at_seeds(found, "C3", geometry.to_world(np.array([[0, 28, 20], [0, 52, 20]])))


@pytest.mark.parametrize("seeds", [[[0, 6, 9], [0, 24, 20]], [[0, 19, 29], [0, 35, 8]], [[0, 18, 18], [0, 22, 18]]])
def test_seeds_may_lie_anywhere_in_their_parts(seeds):
    geometry = Geometry((1, 60, 40), np.diag([-0.4, -0.3, 1.0, 1.0]))
    both = np.zeros(geometry.shape, bool)
    both[0, 5:20, 8:30] = both[0, 21:36, 8:30] = both[0, 20, 13:24] = True
    found = vertebrae_segmentation([both], ["C3"], geometry)
    split = split_at_seeds(found, "C3", geometry.to_world(np.array(seeds)))
    assert split.mask("C3")[0, :20].sum() == both[0, :20].sum()
    assert split.mask("C4")[0, 21:].sum() == both[0, 21:].sum()


def test_seeds_in_one_part_still_part_it(grid):
    found = stack(grid, ["C4", "C5"])
    voxels = np.argwhere(found.mask("C4"))
    split = split_at_seeds(found, "C4", grid.to_world(voxels[[0, -1]]))
    assert split.mask("C4").any() and len(split.segments) == 3
    assert sum(np.count_nonzero(split.mask(segment)) for segment in split.segments[:2]) == len(voxels)


def test_every_seed_has_a_part_and_levels_go_on_downwards():
    geometry = Geometry((1, 80, 40), np.diag([-0.4, -0.3, 1.0, 1.0]))
    parts = np.zeros((4, *geometry.shape), bool)
    for number in range(4):
        parts[number, 0, 4 + 18 * number : 19 + 18 * number, 8:30] = True
    waists = np.zeros(geometry.shape, bool)
    waists[0, [19, 20, 21, 37, 38, 39], 18:21] = True
    found = vertebrae_segmentation([parts[:3].any(axis=0) | waists, parts[3]], ["C3", "C6"], geometry)
    seeds = geometry.to_world(np.array([[0, 47, 19], [0, 11, 19], [0, 29, 19]]))
    split = split_at_seeds(found, "C3", seeds)
    assert [s.name for s in split.segments] == ["C3", "C4", "C5", "C6"]
    for name, part in zip(("C3", "C4", "C5", "C6"), parts, strict=True):
        assert (split.mask(name) & ~waists == part).all(), name
    assert (split.foreground == found.foreground).all()
    for wrong, said in (([seeds[0]], "one point"), ([seeds[0], seeds[1], seeds[0]], "two points are one")):
        with pytest.raises(InputError, match=said):
            split_at_seeds(found, "C3", np.array(wrong))


def test_one_that_was_missed_gets_the_level_between_its_neighbours(grid):
    found = stack(grid, ["C3", "C4", "C5", "C6"])
    missed, mask = remove(found, "C5"), found.mask("C5")
    assert missed.find("C4").edited == "C5 below it removed"
    assert missed.find("C6").edited == "C5 above it removed"
    assert len(missed.segments) == 3
    added = add_mask(missed, mask)
    assert [s.name for s in added.segments] == ["C3", "C4", "C5", "C6"]
    assert (added.mask("C5") == mask).all()
    assert same_voxels(found, added, ["C3", "C4", "C6"])
    with pytest.raises(InputError, match="it is C5 already"):
        add_mask(added, mask)
    last = remove(found, "C6")
    assert add_mask(last, found.mask("C6")).segments[-1].name == "C6"
    first = remove(found, "C3")
    assert add_mask(first, found.mask("C3")).segments[0].name == "C3"


def test_an_added_one_takes_no_voxel_of_others(grid):
    found = stack(grid, ["C3", "C4", "C5"])
    greedy = found.mask("C4").copy()
    greedy[:, 3:6] |= found.mask("C3")[:, 3:6]
    added = add_mask(remove(found, "C4"), greedy)
    assert same_voxels(found, added, ["C3", "C4", "C5"])


def test_one_without_a_free_level_is_left_open_and_said_so():
    found = film(["C3", "C4"])
    mask = np.zeros(found.geometry.shape, bool)
    mask[0, 10:12, 10:22] = True
    added = add_mask(found, mask, kind="body")
    assert [s.name for s in added.segments] == ["C3 body", "unlabelled, 2nd from the top", "C4 body"]
    assert any("unlabelled" in note for note in level_notes(added))
    named = relabel(added, "#2", "C4")
    assert [s.name for s in named.segments] == ["C3 body", "C4 body", "C5 body"]


def test_names_without_a_level_are_counted_anew(grid):
    found = stack(grid, [None] * 4)
    left = remove(found, "#1")
    assert [s.name for s in left.segments] == [f"unlabelled, {n} from the top" for n in ("1st", "2nd", "3rd")]
    assert [s.colour for s in left.segments] == [s.colour for s in found.segments[1:]]


def test_what_was_edited_is_kept_in_the_file_and_in_slicers_tags(tmp_path, grid):
    found = merge(stack(grid, ["C3", "C4", "C5"]), "C4", "C5")
    kept = replace(found.find("C4"), edited="merged: with|C5", accepted=True, confidence=0.5)
    found = replace(found, segments=(found.segments[0], kept))
    path = tmp_path / "x.seg.nrrd"
    write_segmentation(found, path)
    back = read_segmentation(path)
    assert back.find("C4").edited == "merged with C5"
    assert back.find("C4").accepted
    assert back.find("C4").confidence == 0.5
    assert (back.find("C3").edited, back.find("C3").accepted) == ("", False)
    assert same_voxels(found, back, ["C3", "C4"])


def test_numbers_of_the_model_do_not_outlive_its_voxels(grid):
    found = stack(grid, ["C3", "C4", "C5"])
    sure = [replace(s, confidence=0.9, accepted=True) for s in found.segments]
    found = replace(found, segments=tuple(sure))
    merged = merge(found, "C3", "C4")
    assert merged.find("C3").confidence is None
    assert not merged.find("C3").accepted
    assert merged.find("C5").confidence == 0.9
    assert relabel(found, "C3", "C4").segments[0].confidence == 0.9


def test_a_wrong_name_lists_what_is_there(grid):
    with pytest.raises(InputError, match="#1 C3, #2 C4"):
        remove(stack(grid, ["C3", "C4"]), "C7")
    twice = stack(grid, ["C3", "C3"])
    with pytest.raises(InputError, match="2 vertebrae are 'C3'"):
        remove(twice, "C3")
    assert len(remove(twice, "#2").segments) == 1
    empty = Segmentation((np.zeros(grid.shape, np.uint8),), (Segment(Structure("vertebra", "C3"), 0, 1),), grid)
    with pytest.raises(InputError, match="none at all"):
        remove(empty, "C3")
