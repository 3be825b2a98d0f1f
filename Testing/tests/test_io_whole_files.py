"""A file appears whole or not at all, and what was there before stays, whatever goes wrong while writing."""

import errno
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from SpineSegLib.anatomy import Structure
from SpineSegLib.errors import InputError
from SpineSegLib.image import Image, Segmentation
from SpineSegLib.io import all_written_whole, write_image, write_overlay, write_segmentation, written_whole


@pytest.fixture
def image(oblique):
    return Image(np.random.default_rng(0).integers(0, 255, oblique.shape).astype(np.uint8), oblique, "CT")


@pytest.fixture
def segmentation(oblique):
    labels = (np.random.default_rng(1).random(oblique.shape) > 0.5).astype(np.uint8)
    return Segmentation.from_labels(labels, {1: Structure("vertebra", "L1")}, oblique)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_block_writes_a_sibling_that_takes_the_place(tmp_path):
    with written_whole(tmp_path / "a.seg.nrrd") as path:
        assert path.parent == tmp_path
        assert path.name.endswith(".seg.nrrd")
        assert path.name != "a.seg.nrrd"
        path.write_text("new")
        assert not (tmp_path / "a.seg.nrrd").exists()
    assert (tmp_path / "a.seg.nrrd").read_text() == "new"
    assert names(tmp_path) == ["a.seg.nrrd"]


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), OSError(errno.ENOSPC, "full")])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, error):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises((type(error), InputError)), written_whole(target) as path:
        path.write_text("half")
        raise error
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_full_disk_is_one_clear_line(tmp_path):
    with (
        pytest.raises(InputError, match=r"a\.txt: cannot be written: the disk is full"),
        written_whole(tmp_path / "a.txt"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_file_that_the_block_fails_to_read_is_not_blamed_on_the_disk(tmp_path):
    with pytest.raises(PermissionError), written_whole(tmp_path / "a.txt"):
        raise PermissionError(errno.EACCES, "no", str(tmp_path / "other.txt"))


def test_a_missing_folder_and_a_folder_as_file_are_refused(tmp_path):
    with pytest.raises(InputError, match="its folder does not exist"), written_whole(tmp_path / "no" / "a.txt"):
        pass
    with pytest.raises(InputError, match="this is a folder"), written_whole(tmp_path):
        pass
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="its folder does not exist"), written_whole(tmp_path / "file" / "a.txt"):
        pass


def test_a_read_only_folder_is_one_clear_line(tmp_path, monkeypatch):
    # Permissions do not bind a superuser, so the disk's answer is made up.
    def refuse(self, mode="r", *args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match="writing there is not permitted"), written_whole(tmp_path / "a.txt"):
        pass


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="permissions do not bind this user")
def test_a_really_read_only_folder_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(InputError, match="writing there is not permitted"), written_whole(tmp_path / "a.txt"):
            pass
    finally:
        tmp_path.chmod(0o700)


def test_two_files_appear_together_or_not_at_all(tmp_path, monkeypatch):
    first, second = tmp_path / "a.txt", tmp_path / "b.txt"
    first.write_text("old a")
    second.write_text("old b")
    with pytest.raises(ZeroDivisionError), all_written_whole(first, second) as (one, other):
        one.write_text("new a")
        other.write_text("new b")
        raise ZeroDivisionError
    real = Path.replace

    def fails_for_the_second(self, target):
        if Path(target) == second and "b-" in self.name:
            raise OSError(errno.EIO, "Input/output error")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", fails_for_the_second)
    with pytest.raises(InputError, match="the disk failed"), all_written_whole(first, second) as (one, other):
        one.write_text("new a")
        other.write_text("new b")
    assert (first.read_text(), second.read_text()) == ("old a", "old b")
    assert names(tmp_path) == ["a.txt", "b.txt"]
    second.unlink()
    first.unlink()
    with pytest.raises(InputError), all_written_whole(first, second) as (one, other):
        one.write_text("new a")
        other.write_text("new b")
    assert names(tmp_path) == []


OUTPUTS = ["a.seg.nrrd", "a.nii.gz", "a.nii", "a.nrrd", "a.mha"]


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_disk_that_fills_up_while_writing_leaves_the_old_files(image, segmentation, tmp_path, name):
    """The kernel really stops each file at 600 bytes here; SimpleITK does not even report it for NIfTI."""
    resource = pytest.importorskip("resource")
    target, sidecar = tmp_path / name, tmp_path / "a.json"
    target.write_bytes(b"old")
    sidecar.write_bytes(b'{"old": 1}')
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for work in (lambda: write_segmentation(segmentation, target), lambda: write_image(image, target)):
        if "seg" in name and work.__code__.co_names[0] == "write_image":
            continue
        resource.setrlimit(resource.RLIMIT_FSIZE, (300, limits[1]))
        try:
            with pytest.raises(InputError) as caught:
                work()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert str(caught.value).startswith(str(target))
        assert "written" in str(caught.value)
        assert target.read_bytes() == b"old"
        assert sidecar.read_bytes() == b'{"old": 1}'
        assert names(tmp_path) == sorted({name, "a.json"})


def test_an_overlay_on_a_full_disk_leaves_the_old_one(image, segmentation, tmp_path, monkeypatch):
    from PIL import Image as Pillow

    def full(self, path, **kwargs):
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "a.png").write_bytes(b"old")
    monkeypatch.setattr(Pillow.Image, "save", full)
    with pytest.raises(InputError, match="the disk is full"):
        write_overlay(image, segmentation, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == b"old"
    assert names(tmp_path) == ["a.png"]


@pytest.mark.parametrize("name", ["a.txt", "a", "a.jpg", "a.mhd", "a.dcm"])
def test_an_unknown_suffix_is_refused_with_those_known(image, segmentation, tmp_path, name):
    with pytest.raises(InputError, match=r"expected .*\.nrrd"):
        write_image(image, tmp_path / name)
    with pytest.raises(InputError, match=r"expected \.seg\.nrrd.*or \.png"):
        write_segmentation(segmentation, tmp_path / name)
    with pytest.raises(InputError, match=r"expected \.png"):
        write_overlay(image, segmentation, tmp_path / name)
    assert names(tmp_path) == []


def test_a_written_file_has_the_permissions_of_any_other(image, tmp_path):
    (tmp_path / "plain").write_text("x")
    write_image(image, tmp_path / "a.nrrd")
    assert (tmp_path / "a.nrrd").stat().st_mode == (tmp_path / "plain").stat().st_mode
