"""Files that get their names all at once."""

from pathlib import Path

import pytest

from engine.files import rename_new


def test_a_name_is_taken_once(tmp_path: Path) -> None:
    one, other, name = (tmp_path / text for text in ("one", "other", "name"))
    one.write_text("1")
    other.write_text("2")
    rename_new(one, name)
    with pytest.raises(FileExistsError):
        rename_new(other, name)
    assert (name.read_text(), other.read_text(), one.exists()) == ("1", "2", False)


def test_what_is_not_there_gets_no_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        rename_new(tmp_path / "nothing", tmp_path / "name")
