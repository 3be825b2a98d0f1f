"""Readers by name: each is there, and a wrong name, folder or option is one line."""

from __future__ import annotations

from importlib import import_module

import pytest

from SpineSegLib.datasets import READERS, read_cases
from SpineSegLib.errors import InputError


@pytest.mark.parametrize("reader", sorted(READERS))
def test_every_reader_refuses_a_missing_folder_and_an_unknown_option_in_one_line(tmp_path, reader):
    assert import_module(f"SpineSegLib.datasets.{READERS[reader]}").__doc__
    with pytest.raises(InputError, match="no such folder") as error:
        read_cases(reader, tmp_path / "nowhere")
    assert "nowhere" in str(error.value)
    with pytest.raises(InputError, match=f"options of the reader {reader}"):
        read_cases(reader, tmp_path, colour="blue")


@pytest.mark.parametrize("reader", sorted(READERS))
def test_every_reader_says_what_it_expects_in_an_empty_folder(tmp_path, reader):
    with pytest.raises(InputError, match="; expected ") as error:
        read_cases(reader, tmp_path)
    assert str(tmp_path) in str(error.value)


def test_an_unknown_reader_is_one_line(tmp_path):
    with pytest.raises(InputError, match="the reader 'verze'; expected one of"):
        read_cases("verze", tmp_path)
