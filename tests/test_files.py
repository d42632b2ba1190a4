from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from builders import folder_with
from pertinent import files
from pertinent.errors import StorageError
from pertinent.files import (
    clear_unfinished,
    finite,
    is_open,
    new_file,
    new_folder,
    read_json,
    read_versioned,
    recover_folder,
    refuse_strangers,
    reserve,
    sha256_file,
    storage_errors,
    write_bytes,
    write_json,
    write_tensors,
    write_text,
)


def full(*arguments: Any, **options: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_storage_errors_name_path_and_remedy(tmp_path: Path) -> None:
    said = r"writing .*x failed: No space left on device; free space or choose another folder"
    with pytest.raises(StorageError, match=said), storage_errors(tmp_path / "x", "writing"):
        full()
    with pytest.raises(StorageError, match="odd"), storage_errors(tmp_path, "writing"):
        raise OSError("odd")
    with pytest.raises(KeyError), storage_errors(tmp_path, "writing"):
        raise KeyError("not about files")


def test_write_and_read(tmp_path: Path) -> None:
    write_bytes(tmp_path / "new" / "a.bin", b"\x00\xff")
    assert (tmp_path / "new" / "a.bin").read_bytes() == b"\x00\xff"
    write_text(tmp_path / "t.txt", "grün\n")
    assert (tmp_path / "t.txt").read_bytes() == "grün\n".encode()
    value = {"z": [1, 2.5, None], "a": {"ü": True}}
    write_json(tmp_path / "j.json", value)
    assert read_json(tmp_path / "j.json") == value
    assert list(read_json(tmp_path / "j.json")) == ["z", "a"], "the order says what comes first in a report"
    assert (tmp_path / "j.json").stat().st_mode & 0o777 == 0o644
    assert names(tmp_path) == ["j.json", "new", "t.txt"]


@pytest.mark.parametrize("step", ["replace", "fsync"])
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    write_text(tmp_path / "a", "old")
    monkeypatch.setattr(os, step, full)
    with pytest.raises(StorageError, match="No space left"):
        write_text(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "old"
    assert names(tmp_path) == ["a"]


def test_ctrl_c_while_writing_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: Any) -> None:
        raise KeyboardInterrupt

    write_text(tmp_path / "a", "old")
    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_text(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "old"
    assert names(tmp_path) == ["a"]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="choose another folder"):
        write_text(tmp_path / "file" / "a", "x")
    with pytest.raises(StorageError, match="choose another folder"), new_folder(tmp_path / "file" / "a"):
        pytest.fail("must not come here")


def test_read_json_names_what_is_missing_or_damaged(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"a\.json does not exist; check the path"):
        read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_text('{"a": ')
    with pytest.raises(StorageError, match=r"a\.json cannot be read .* it is damaged or not JSON: make it again"):
        read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_bytes(b"\xff\xff")
    with pytest.raises(StorageError, match="damaged"):
        read_json(tmp_path / "a.json")
    with pytest.raises(StorageError, match="cannot be read"):
        read_json(tmp_path)


def test_read_versioned(tmp_path: Path) -> None:
    write_json(tmp_path / "d.json", {"format": 1, "x": 2})
    assert read_versioned(tmp_path / "d.json", "thing", 1)["x"] == 2
    with pytest.raises(StorageError, match="has thing format 1, this version reads 2"):
        read_versioned(tmp_path / "d.json", "thing", 2)
    write_json(tmp_path / "d.json", [1, 2])
    with pytest.raises(StorageError, match="has thing format None"):
        read_versioned(tmp_path / "d.json", "thing", 1)


def test_write_tensors_raises_what_other_writing_raises(tmp_path: Path) -> None:
    write_tensors(tmp_path / "a.safetensors", {"x": torch.arange(3)})
    assert torch.equal(load_file(tmp_path / "a.safetensors")["x"], torch.arange(3))
    with pytest.raises(OSError, match="No such file"):
        write_tensors(tmp_path / "none" / "a.safetensors", {"x": torch.arange(3)})


def write_folder(path: Path, **contents: str) -> None:
    with new_folder(path) as temporary:
        for name, text in contents.items():
            (temporary / name).write_text(text)


def test_new_folder_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    write_folder(tmp_path / "deep" / "f", a="1", b="2")
    write_folder(tmp_path / "deep" / "f", a="3", b="4")
    assert {path.name: path.read_text() for path in (tmp_path / "deep" / "f").iterdir()} == {"a": "3", "b": "4"}
    assert names(tmp_path / "deep") == ["f"]
    assert (tmp_path / "deep" / "f").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(), KeyError("x")]
)
def test_a_block_that_fails_leaves_the_old_folder(tmp_path: Path, error: BaseException) -> None:
    write_folder(tmp_path / "f", a="old")
    wanted = StorageError if isinstance(error, OSError) else type(error)
    with pytest.raises(wanted), new_folder(tmp_path / "f") as temporary:  # noqa: PT012
        (temporary / "a").write_text("new")
        raise error
    assert (tmp_path / "f" / "a").read_text() == "old"
    assert names(tmp_path) == ["f"]


@pytest.mark.parametrize("error", [OSError(errno.EIO, "broken"), KeyboardInterrupt()])
def test_a_swap_that_fails_puts_the_old_folder_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    write_folder(tmp_path / "f", a="old")
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if target == tmp_path / "f" and not self.name.endswith(".old"):
            raise error
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(StorageError if isinstance(error, OSError) else KeyboardInterrupt):
        write_folder(tmp_path / "f", a="new")
    assert (tmp_path / "f" / "a").read_text() == "old"
    assert names(tmp_path) == ["f"]


def test_a_crash_between_the_two_renames_is_recovered(tmp_path: Path) -> None:
    write_folder(tmp_path / "f", a="old")
    (tmp_path / "f").rename(tmp_path / ".f.old")
    recover_folder(tmp_path / "f")
    assert (tmp_path / "f" / "a").read_text() == "old"
    recover_folder(tmp_path / "f")
    recover_folder(tmp_path / "never")
    assert names(tmp_path) == ["f"]


def test_what_a_crash_left_aside_gives_way_to_a_newer_folder(tmp_path: Path) -> None:
    write_folder(tmp_path / "f", a="new")
    write_folder(tmp_path / ".f.old", a="older")
    recover_folder(tmp_path / "f")
    assert (tmp_path / "f" / "a").read_text() == "new"
    write_folder(tmp_path / "f", a="newest")
    assert names(tmp_path) == ["f"]


def test_somebody_elses_folder_is_never_replaced(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "holiday.jpg").write_text("precious")
    with pytest.raises(StorageError, match=r"photos holds files that are not ours to replace \(holiday\.jpg\)"):
        write_folder(photos, a="x")
    with pytest.raises(StorageError, match="is a file; choose another folder"):
        write_folder(photos / "holiday.jpg", a="x")
    assert (photos / "holiday.jpg").read_text() == "precious"
    assert names(tmp_path) == ["photos"]


def test_refuse_strangers(tmp_path: Path) -> None:
    refuse_strangers(tmp_path / "none", [])
    refuse_strangers(tmp_path, [])
    (tmp_path / ".DS_Store").write_text("")
    (tmp_path / "mine").write_text("")
    refuse_strangers(tmp_path, ["mine", "other"])
    with pytest.raises(StorageError, match="mine"):
        refuse_strangers(tmp_path, ["other"])


def test_sha256_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_file(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_what_was_being_written_is_removed(tmp_path: Path):
    folder_with(tmp_path / ".00001-0000002.ab12_xyz")
    (tmp_path / ".state.json.q1w2e3r4").write_text("half")
    kept = folder_with(tmp_path / "00001-0000001")
    clear_unfinished(tmp_path)
    assert list(tmp_path.iterdir()) == [kept]


def test_what_was_about_to_be_replaced_comes_back(tmp_path: Path):
    folder_with(tmp_path / ".best.old", "the last good one")
    folder_with(tmp_path / ".best.ab12_xyz", "half")
    clear_unfinished(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["best"]
    assert (tmp_path / "best" / "state.json").read_text() == "the last good one"
    folder_with(tmp_path / ".best.old", "not needed any more")
    clear_unfinished(tmp_path)
    assert (tmp_path / "best" / "state.json").read_text() == "the last good one"
    assert not (tmp_path / ".best.old").exists()


def test_only_the_remains_of_what_is_ours_are_removed(tmp_path: Path):
    others = [".best.partial", ".git", ".best", "best.ab12_xyz", ".notes.ab12_xyz"]
    for name in others:
        folder_with(tmp_path / name)
    clear_unfinished(tmp_path, ("best",))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)
    clear_unfinished(tmp_path / "nowhere")


def test_json_has_no_number_that_is_none() -> None:
    values = {"a": float("nan"), "b": [1.5, float("-inf"), (float("inf"), "nan")], "c": {"d": 2}}
    assert finite(values) == {"a": None, "b": [1.5, None, [None, "nan"]], "c": {"d": 2}}


def test_a_file_written_piece_by_piece_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    with new_file(tmp_path / "deep" / "a") as file:
        file.write(b"one ")
        assert not (tmp_path / "deep" / "a").exists()
        file.write(b"two")
    assert (tmp_path / "deep" / "a").read_bytes() == b"one two"
    with pytest.raises(KeyboardInterrupt), new_file(tmp_path / "deep" / "a") as file:  # noqa: PT012
        file.write(b"half")
        raise KeyboardInterrupt
    assert (tmp_path / "deep" / "a").read_bytes() == b"one two"
    assert names(tmp_path / "deep") == ["a"]


def test_whether_a_path_is_an_open_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file:
        assert is_open(path, file.fileno())
        path.unlink()
        assert not is_open(path, file.fileno())
        path.write_bytes(b"another")
        assert not is_open(path, file.fileno())


def test_every_public_function_is_tried_here() -> None:
    own = {name for name, value in vars(files).items() if getattr(value, "__module__", "") == files.__name__}
    assert {name for name in own if not name.startswith("_")} <= set(globals())


def test_a_file_takes_its_whole_space_at_once(tmp_path: Path):
    with (tmp_path / "a").open("wb") as file:
        file.truncate(1 << 20)
    reserve(tmp_path / "a")
    assert (tmp_path / "a").stat().st_size == 1 << 20
    if hasattr(os, "posix_fallocate"):
        assert (tmp_path / "a").stat().st_blocks * 512 >= 1 << 20


def test_a_full_disk_is_told_when_space_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "a").write_bytes(b"x")
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        reserve(tmp_path / "a")
