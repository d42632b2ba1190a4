from __future__ import annotations

import errno
import io
import random
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from builders import Listening
from pertinent.data import archives
from pertinent.data.archives import unpack
from pertinent.errors import DataError, StorageError

FILES = {"paris/eiffel/a.jpg": b"eiffel", "paris/louvre/b.jpg": b"louvre" * 1000, "paris/list.txt": b""}
TARS = {"x.tar": "w:", "x.tar.gz": "w:gz", "x.tgz": "w:gz", "x.tar.bz2": "w:bz2", "x.tar.xz": "w:xz"}


def write_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("paris/", b"")
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def write_tar(path: Path, files: dict[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def write_special(path: Path, **attributes: Any) -> Path:
    """A tar file with a picture and one thing that is no file."""
    with tarfile.open(path, "w:gz") as archive:
        good = tarfile.TarInfo("good.jpg")
        good.size = 4
        archive.addfile(good, io.BytesIO(b"good"))
        odd = tarfile.TarInfo("odd.jpg")
        for name, value in attributes.items():
            setattr(odd, name, value)
        archive.addfile(odd)
    return path


def write_zip_link(path: Path, target: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("good.jpg", b"good")
        link = zipfile.ZipInfo("odd.jpg")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, target)
    return path


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(params=["x.zip", *TARS])
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / request.param
    return write_zip(path, FILES) if path.suffix == ".zip" else write_tar(path, FILES, TARS[path.name])


def test_every_kind_of_archive(archive: Path, tmp_path: Path):
    heard = Listening()
    assert unpack(archive, tmp_path / "new" / "out", listener=heard) == 3
    assert tree(tmp_path / "new" / "out") == FILES
    last = heard.of("unpack")[-1]
    size = archive.stat().st_size
    assert (last["name"], last["done"], last["total"]) == (archive.name, size, size)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out"]
    assert stat.S_IMODE((tmp_path / "new" / "out").stat().st_mode) == 0o755


def test_the_name_does_not_matter(tmp_path: Path):
    unpack(write_zip(tmp_path / "picture.jpg", FILES), tmp_path / "out")
    assert tree(tmp_path / "out") == FILES


def test_strip_and_flatten(archive: Path, tmp_path: Path):
    assert unpack(archive, tmp_path / "flat", flatten=True) == 3
    assert set(tree(tmp_path / "flat")) == {"a.jpg", "b.jpg", "list.txt"}
    assert not any(path.is_dir() for path in (tmp_path / "flat").iterdir())
    unpack(archive, tmp_path / "one", strip=1)
    assert set(tree(tmp_path / "one")) == {"eiffel/a.jpg", "louvre/b.jpg", "list.txt"}
    assert unpack(archive, tmp_path / "two", strip=2) == 2
    assert set(tree(tmp_path / "two")) == {"a.jpg", "b.jpg"}


def test_two_archives_fill_one_folder(tmp_path: Path):
    unpack(write_tar(tmp_path / "1.tgz", {"a/1.jpg": b"1", "a/2.jpg": b"old"}), tmp_path / "jpg", flatten=True)
    unpack(write_tar(tmp_path / "2.tgz", {"b/2.jpg": b"new", "b/3.jpg": b"3"}), tmp_path / "jpg", flatten=True)
    assert tree(tmp_path / "jpg") == {"1.jpg": b"1", "2.jpg": b"new", "3.jpg": b"3"}
    unpack(write_tar(tmp_path / "3.tgz", {"x/y/4.jpg": b"4"}), tmp_path / "jpg")
    assert tree(tmp_path / "jpg")["x/y/4.jpg"] == b"4"


def test_links_inside_become_files(tmp_path: Path):
    for number, attributes in enumerate(
        ({"type": tarfile.SYMTYPE, "linkname": "good.jpg"}, {"type": tarfile.LNKTYPE, "linkname": "./good.jpg"})
    ):
        out = tmp_path / str(number)
        assert unpack(write_special(tmp_path / "x.tgz", **attributes), out) == 2
        assert tree(out) == {"good.jpg": b"good", "odd.jpg": b"good"}
        assert not (out / "odd.jpg").is_symlink()
    unpack(write_zip_link(tmp_path / "x.zip", "good.jpg"), tmp_path / "zip")
    assert tree(tmp_path / "zip") == {"good.jpg": b"good", "odd.jpg": b"good"}


ESCAPES = ["../evil", "a/../../evil", "a/../evil", "/tmp/evil", "..", "..\\evil", "\\evil", "C:\\evil", "C:evil"]


@pytest.mark.parametrize("name", ESCAPES)
@pytest.mark.parametrize("write", [write_zip, write_tar])
@pytest.mark.parametrize("flatten", [False, True])
def test_paths_that_lead_out_are_refused_by_name(tmp_path: Path, write: Callable[..., Path], name: str, flatten: bool):
    home = tmp_path / "home"
    home.mkdir()
    archive = write(home / "x", {"good.jpg": b"good", name: b"evil"})
    with pytest.raises(DataError, match=r"x is not unpacked: its member .*(absolute path|leads out)") as raised:
        unpack(archive, home / "out", flatten=flatten)
    assert repr(name) in str(raised.value)
    assert [path.name for path in home.iterdir()] == ["x"]
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("/etc/passwd", "means the absolute path '/etc/passwd'"),
        ("../../etc/passwd", "leads out of the folder, to '../../etc/passwd'"),
        ("gone.jpg", "is a link to 'gone.jpg', which is no file of the archive"),
    ],
)
def test_links_that_lead_out_are_refused_by_name(tmp_path: Path, kind: bytes, target: str, said: str):
    archive = write_special(tmp_path / "x.tgz", type=kind, linkname=target)
    with pytest.raises(DataError, match=r"its member 'odd\.jpg'") as raised:
        unpack(archive, tmp_path / "out")
    assert said in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_links_of_zip_files_are_refused_alike(tmp_path: Path):
    with pytest.raises(DataError, match=r"member 'odd\.jpg' has or means the absolute path '/etc/passwd'"):
        unpack(write_zip_link(tmp_path / "x.zip", "/etc/passwd"), tmp_path / "out")
    with pytest.raises(DataError, match=r"member 'odd\.jpg' is a device"):
        unpack(write_zip_link(tmp_path / "x.zip", "a/" * 3000), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_link_cannot_lead_later_members_out(tmp_path: Path):
    """A symbolic link to a folder, then a file through it: the oldest trick."""
    outside = tmp_path / "outside"
    outside.mkdir()
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        link = tarfile.TarInfo("d")
        link.type, link.linkname = tarfile.SYMTYPE, str(outside)
        archive.addfile(link)
        info = tarfile.TarInfo("d/evil")
        info.size = 4
        archive.addfile(info, io.BytesIO(b"evil"))
    with pytest.raises(DataError, match="'d' has or means the absolute path"):
        unpack(tmp_path / "x.tar", tmp_path / "out")
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_are_refused_by_name(tmp_path: Path, kind: bytes):
    with pytest.raises(DataError, match=r"its member 'odd\.jpg' is a device"):
        unpack(write_special(tmp_path / "x.tgz", type=kind), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_two_files_of_one_name_are_refused(tmp_path: Path):
    archive = write_tar(tmp_path / "x.tgz", {"a/1.jpg": b"1", "b/1.jpg": b"2"})
    with pytest.raises(DataError, match=r"member 'b/1\.jpg' would have the same place as 'a/1\.jpg'"):
        unpack(archive, tmp_path / "out", flatten=True)
    assert unpack(archive, tmp_path / "out") == 2


def write_members(path: Path, names: list[str]) -> Path:
    """A tar file of these members; one that ends in `/` is a folder, one with `->` a link to a file."""
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("file"), io.BytesIO(b""))
        for name in names:
            info = tarfile.TarInfo(name.removesuffix("/").removesuffix("->"))
            if name.endswith("/"):
                info.type = tarfile.DIRTYPE
            elif name.endswith("->"):
                info.type, info.linkname = tarfile.SYMTYPE, "file"
            archive.addfile(info, io.BytesIO(b""))
    return path


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["a", "a/b"], "member 'a/b' lies in 'a', which is a file of the archive and no folder"),
        (["a", "a/b/c"], "member 'a/b/c' lies in 'a'"),
        (["a", "a/b/"], "member 'a/b' lies in 'a'"),
        (["a->", "a/b"], "member 'a/b' lies in 'a'"),
        (["a/b", "a"], "member 'a' is both a file and a folder of the archive"),
        (["a/b", "a->"], "member 'a' is both a file and a folder of the archive"),
        (["a", "a/"], "member 'a' is both a file and a folder of the archive"),
    ],
)
def test_a_file_that_is_a_folder_as_well_is_refused(tmp_path: Path, names: list[str], said: str):
    with pytest.raises(DataError, match=f"{said}.*get the archive elsewhere"):
        unpack(write_members(tmp_path / "x.tgz", names), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
def test_truncated_archives_are_refused(archive: Path, tmp_path: Path, share: float):
    noise = random.Random(0)
    files = {f"{number}.jpg": noise.randbytes(9000) for number in range(4)}
    write_zip(archive, files) if archive.suffix == ".zip" else write_tar(archive, files, TARS[archive.name])
    data = archive.read_bytes()
    # A plain tar file ends with zeros, which say nothing.
    whole = 4 * 9728 if archive.suffix == ".tar" else len(data)
    archive.write_bytes(data[: int(share * whole)])
    with pytest.raises(DataError, match="is damaged, incomplete or no archive"):
        unpack(archive, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == [archive.name]


def test_damage_in_the_middle_is_found(tmp_path: Path):
    files = {f"{number}.jpg": bytes(600) for number in range(3)}
    for path in (
        write_zip(tmp_path / "x.zip", {"a.jpg": random.Random(0).randbytes(900)}),
        write_tar(tmp_path / "x.tar", files, "w:"),
    ):
        data = bytearray(path.read_bytes())
        # In the tar file this is the second header, after 512 of the first and 1024 of its content.
        start = 500 if path.suffix == ".zip" else 1536 + 150
        data[start : start + 4] = b"\xff" * 4
        path.write_bytes(data)
        with pytest.raises(DataError, match="is damaged"):
            unpack(path, tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_what_is_no_archive(tmp_path: Path):
    (tmp_path / "page.tgz").write_text("<html>Not found</html>")
    (tmp_path / "empty.zip").write_bytes(b"")
    for name in ("page.tgz", "empty.zip"):
        with pytest.raises(DataError, match=f"{name} is damaged, incomplete or no archive"):
            unpack(tmp_path / name, tmp_path / "out")
    with pytest.raises(StorageError, match=r"gone\.zip does not exist"):
        unpack(tmp_path / "gone.zip", tmp_path / "out")
    with zipfile.ZipFile(tmp_path / "locked.zip", "w") as archive:
        archive.writestr("a", b"a")
    locked = (tmp_path / "locked.zip").read_bytes()
    head, central = locked.index(b"PK\x03\x04"), locked.index(b"PK\x01\x02")
    locked = bytearray(locked)
    locked[head + 6] |= 1
    locked[central + 8] |= 1
    (tmp_path / "locked.zip").write_bytes(locked)
    with pytest.raises(DataError, match="encrypted"):
        unpack(tmp_path / "locked.zip", tmp_path / "out")


class Killed(BaseException):
    pass


@pytest.mark.parametrize("there", [False, True])
def test_an_interrupted_call_is_repeated(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool):
    """As after a kill: nothing tidies up, and the next call does."""
    out = tmp_path / "data" / "out"
    out.mkdir(parents=True) if there else out.parent.mkdir()
    written = archives._Unpacking._write
    seen: list[str] = []

    def stop(self: Any, member: Any, place: Path) -> None:
        written(self, member, place)
        seen.append(member.name)
        if len(seen) == 2:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(archives._Unpacking, "_write", stop)
        patch.setattr(archives.shutil, "rmtree", lambda *a, **o: None)  # noqa: ARG005
        with pytest.raises(Killed):
            unpack(archive, out)
    left = list((out if there else out.parent).iterdir())
    assert len(left) == 1
    assert left[0].name.startswith(f".{archive.name if there else 'out'}.")
    assert unpack(archive, out) == 3
    assert tree(out) == FILES
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_a_full_disk(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    full = type("Usage", (), {"free": 100})
    with monkeypatch.context() as patch:
        patch.setattr(archives.shutil, "disk_usage", lambda path: full)  # noqa: ARG005
        with pytest.raises(StorageError, match=r"member 'paris/louvre/b\.jpg' needs 6,000 bytes, 100 are free"):
            unpack(archive, tmp_path / "out")
    opened = Path.open

    def fail(self: Path, mode: str = "r", *more: Any, **options: Any) -> Any:
        if "w" in mode:
            raise OSError(errno.ENOSPC, "No space left on device")
        return opened(self, mode, *more, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", fail)
        with pytest.raises(StorageError, match="No space left on device; free space"):
            unpack(archive, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == [archive.name]


def test_a_file_in_the_folders_place(archive: Path, tmp_path: Path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(StorageError, match="out"):
        unpack(archive, tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"
