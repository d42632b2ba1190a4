from __future__ import annotations

import errno
import hashlib
import json
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from builders import Listening
from pertinent.data import download, https
from pertinent.data.download import fetch
from pertinent.data.https import remote_size
from pertinent.data.ledger import Download, Ledger
from pertinent.data.progress import Progress
from pertinent.errors import DataError, InputError, StorageError
from web import Site, make_certificate, serving

DATA = random.Random(0).randbytes(3_000_000)
SUM = hashlib.sha256(DATA).hexdigest()
OTHER = random.Random(1).randbytes(3_000_000)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Tries follow each other at once, and no proxy stands between."""
    waits: list[float] = []
    monkeypatch.setattr(download.time, "sleep", waits.append)
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return waits


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as running:
        yield running


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


def rest(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_comes_whole_and_is_noted(site: Site, tmp_path: Path):
    heard = Listening()
    url = site.add("a.bin", DATA)
    assert fetch(url, tmp_path / "new" / "a.bin", sha256=SUM.upper(), listener=heard) == SUM
    assert (tmp_path / "new" / "a.bin").read_bytes() == DATA
    assert rest(tmp_path / "new") == [".downloads.json", "a.bin"]
    assert Ledger(tmp_path / "new").read() == {"a.bin": Download(url, SUM, len(DATA))}
    last = heard.of("download")[-1]
    assert (last["name"], last["done"], last["total"], last["eta"]) == ("a.bin", len(DATA), len(DATA), 0)
    assert last["rate"] > 0
    assert heard.of("unverified") == []


def test_a_file_that_is_there_is_not_asked_for_again(site: Site, tmp_path: Path):
    url = site.add("a.bin", DATA)
    for _ in range(2):
        assert fetch(url, tmp_path / "a.bin", sha256=SUM) == SUM
    assert len(site.asked) == 1


def test_an_empty_file(site: Site, tmp_path: Path):
    fetch(site.add("a.txt", b""), tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_bytes() == b""


@pytest.mark.parametrize("place", [1, 17, 262_144, 1_234_567, 2_999_999])
@pytest.mark.parametrize("how", ["cut", "end"])
@pytest.mark.parametrize("validator", [{}, {"etag": None, "modified": "Wed, 21 Oct 2015 07:28:00 GMT"}])
def test_a_broken_connection_is_continued(site: Site, tmp_path: Path, place: int, how: str, validator: dict[str, Any]):
    heard = Listening()
    url = site.add("a.bin", DATA, plan=[(how, place)], **validator)
    assert fetch(url, tmp_path / "a.bin", listener=heard) == SUM
    first, second = site.ranges()
    assert first is None
    if how == "end":
        assert second == f"bytes={place}-"
    else:  # a reset may swallow what was on its way
        assert second is None or int(second[6:-1]) <= place
    assert len(heard.of("retry")) == 1
    assert rest(tmp_path) == [".downloads.json", "a.bin"]


class Killed(BaseException):
    pass


def test_a_killed_download_is_continued_by_the_next_call(site: Site, tmp_path: Path):
    def add(self: Progress, count: int) -> None:
        self.done += count
        if self.done > 1_000_000:
            raise Killed

    url = site.add("a.bin", DATA)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Progress, "add", add)
        with pytest.raises(Killed):
            fetch(url, tmp_path / "a.bin")
    assert rest(tmp_path) == [".a.bin.part", ".a.bin.part.json"]
    got = (tmp_path / ".a.bin.part").stat().st_size
    assert 1_000_000 < got < len(DATA)
    heard = Listening()
    assert fetch(url, tmp_path / "a.bin", listener=heard) == SUM
    assert site.ranges() == [None, f"bytes={got}-"]
    assert all(event["done"] > got for event in heard.of("download"))


def test_all_came_but_the_process_died_before_the_end(site: Site, tmp_path: Path):
    url = site.add("a.bin", DATA)
    (tmp_path / ".a.bin.part").write_bytes(DATA)
    state = {"url": url, "validator": '"1"', "length": len(DATA)}
    (tmp_path / ".a.bin.part.json").write_text(json.dumps(state))
    assert fetch(url, tmp_path / "a.bin", sha256=SUM) == SUM
    assert site.asked == []


def test_a_process_that_dies_at_the_very_end(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def die(*words: Any) -> None:
        raise Killed

    url = site.add("a.bin", DATA)
    replace = download.os.replace
    with monkeypatch.context() as patch:
        patch.setattr(
            download.os, "replace", lambda old, new: die() if Path(new).name == "a.bin" else replace(old, new)
        )
        with pytest.raises(Killed):
            fetch(url, tmp_path / "a.bin")
    assert fetch(url, tmp_path / "a.bin") == SUM
    assert len(site.asked) == 1
    assert Ledger(tmp_path).read()["a.bin"].ours
    assert rest(tmp_path) == [".downloads.json", "a.bin"]


@pytest.mark.parametrize(
    "how",
    [
        {"etag": '"2"'},
        {"etag": '"2"', "heeds_if_range": False},
        {"ranges": False},
        {"etag": 'W/"1"'},
        {"headers": {"Content-Range": "bytes 5-9/10"}, "etag": '"2"', "heeds_if_range": False},
    ],
    ids=["changed", "changed and careless", "no ranges", "weak tag", "nonsense"],
)
def test_another_file_or_a_simple_server_means_starting_anew(site: Site, tmp_path: Path, how: dict[str, Any]):
    url = site.add("a.bin", OTHER, plan=[("end", 2_000_000)])
    site.pages["/a.bin"].plan += [404]
    with pytest.raises(DataError, match="404"):
        fetch(url, tmp_path / "a.bin")
    assert (tmp_path / ".a.bin.part").read_bytes() == OTHER[:2_000_000]
    site.add("a.bin", DATA, **how)
    assert fetch(url, tmp_path / "a.bin") == SUM
    assert site.ranges()[2] == "bytes=2000000-"
    assert rest(tmp_path) == [".downloads.json", "a.bin"]


def test_a_shorter_file_means_starting_anew(site: Site, tmp_path: Path):
    url = site.add("a.bin", DATA)
    (tmp_path / ".a.bin.part").write_bytes(OTHER + OTHER)
    (tmp_path / ".a.bin.part.json").write_text(json.dumps({"url": url, "validator": '"1"', "length": None}))
    assert fetch(url, tmp_path / "a.bin") == SUM
    assert site.ranges() == [f"bytes={2 * len(OTHER)}-", None]


@pytest.mark.parametrize(
    "state",
    [
        None,
        "{",
        "[]",
        '{"url": "https://elsewhere", "validator": "\\"1\\"", "length": 3000000}',
        '{"url": "URL", "validator": null, "length": 3000000}',
        '{"url": "URL", "validator": "\\"1\\"", "length": 5}',
    ],
)
def test_bytes_of_unknown_origin_are_not_continued(site: Site, tmp_path: Path, state: str | None):
    url = site.add("a.bin", DATA)
    (tmp_path / ".a.bin.part").write_bytes(OTHER[:1000])
    if state is not None:
        (tmp_path / ".a.bin.part.json").write_text(state.replace("URL", url))
    assert fetch(url, tmp_path / "a.bin") == SUM
    assert site.ranges() == [None]


def test_without_etag_or_date_it_starts_anew(site: Site, tmp_path: Path):
    url = site.add("a.bin", DATA, etag=None, plan=[("end", 2_000_000)])
    assert fetch(url, tmp_path / "a.bin") == SUM
    assert site.ranges() == [None, None]


def test_a_server_that_says_no_length(site: Site, tmp_path: Path):
    heard = Listening()
    url = site.add("a.bin", DATA, says_length=False)
    assert fetch(url, tmp_path / "a.bin", sha256=SUM, listener=heard) == SUM
    assert {(event["total"], event["eta"]) for event in heard.of("download")} <= {(None, None)}


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429, 408])
def test_errors_that_pass_are_tried_again(site: Site, tmp_path: Path, no_waiting: list[float], status: int):
    heard = Listening()
    url = site.add("a.bin", DATA, plan=[status, status])
    assert fetch(url, tmp_path / "a.bin", listener=heard) == SUM
    assert no_waiting == [1.0, 2.0]
    assert [event["wait"] for event in heard.of("retry")] == no_waiting
    assert str(status) in heard.of("retry")[0]["reason"]


def test_a_server_may_ask_for_patience(site: Site, tmp_path: Path, no_waiting: list[float]):
    fetch(site.add("a.bin", DATA, plan=[503], headers={"Retry-After": "7"}), tmp_path / "a.bin")
    fetch(site.add("b.bin", DATA, plan=[503], headers={"Retry-After": "100000"}), tmp_path / "b.bin")
    assert no_waiting == [7.0, 60.0]


def test_tries_have_an_end_unless_each_gains(site: Site, tmp_path: Path, no_waiting: list[float]):
    url = site.add("a.bin", DATA, plan=[500] * 100)
    with pytest.raises(DataError, match=r"answered 500 .* in 5 tries; .*goes on after 0 bytes"):
        fetch(url, tmp_path / "a.bin")
    assert len(site.asked) == 5
    assert no_waiting == [1.0, 2.0, 4.0, 8.0]
    assert rest(tmp_path) == []
    site.asked.clear()
    url = site.add("b.bin", DATA * 4, plan=[("end", 1_100_000)] * 9)
    fetch(url, tmp_path / "b.bin")
    assert len(site.asked) == 10


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_errors_that_stay_end_it(site: Site, tmp_path: Path, status: int):
    url = site.add("a.bin", DATA, plan=[status])
    with pytest.raises(DataError, match=rf"a\.bin: the server answered {status} .*publisher's page"):
        fetch(url, tmp_path / "a.bin")
    assert len(site.asked) == 1
    assert rest(tmp_path) == []


def test_a_server_that_falls_silent(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(https, "_TIMEOUT", 0.2)
    heard = Listening()
    url = site.add("a.bin", DATA, plan=[("hang", 1_500_000)])
    assert fetch(url, tmp_path / "a.bin", listener=heard) == SUM
    assert "timed out" in heard.of("retry")[0]["reason"]
    first, second = site.ranges()
    assert first is None
    assert second is not None


def test_no_server(tmp_path: Path):
    with serving() as gone:
        url = gone.add("a.bin", DATA)
    with pytest.raises(DataError, match=r"no connection .*in 5 tries"):
        fetch(url, tmp_path / "a.bin")


def test_a_wrong_checksum_keeps_nothing_and_says_both(site: Site, tmp_path: Path):
    url = site.add("a.bin", DATA)
    wanted = "0" * 64
    with pytest.raises(DataError, match=rf"came with sha256 {SUM}, expected {wanted}; nothing was kept"):
        fetch(url, tmp_path / "a.bin", sha256=wanted)
    assert rest(tmp_path) == []


def test_an_md5_is_checked_and_the_sha256_noted(site: Site, tmp_path: Path):
    heard, md5 = Listening(), hashlib.md5(DATA, usedforsecurity=False).hexdigest()
    url = site.add("a.bin", DATA)
    with pytest.raises(DataError, match=rf"came with md5 {md5}, expected {'0' * 32}; nothing was kept"):
        fetch(url, tmp_path / "a.bin", md5="0" * 32)
    assert rest(tmp_path) == []
    assert fetch(url, tmp_path / "a.bin", md5=md5.upper(), listener=heard) == SUM
    assert Ledger(tmp_path).read()["a.bin"].sha256 == SUM
    assert heard.of("unverified") == []
    asked = len(site.asked)
    assert fetch(url, tmp_path / "a.bin", md5=md5) == SUM
    assert len(site.asked) == asked


def test_a_file_of_somebody_is_compared_by_its_md5(site: Site, tmp_path: Path):
    url, md5 = site.add("a.bin", DATA), hashlib.md5(DATA, usedforsecurity=False).hexdigest()
    (tmp_path / "a.bin").write_bytes(OTHER)
    with pytest.raises(DataError, match=rf"is another file: it has md5 .*, its publisher's has {md5}; move it away"):
        fetch(url, tmp_path / "a.bin", md5=md5)
    (tmp_path / "a.bin").write_bytes(DATA)
    assert fetch(url, tmp_path / "a.bin", md5=md5) == SUM
    assert site.asked == []
    assert Ledger(tmp_path).read()["a.bin"].ours is False


def test_the_first_download_is_trusted_and_later_ones_compared(site: Site, tmp_path: Path):
    heard = Listening()
    url = site.add("a.bin", DATA)
    fetch(url, tmp_path / "a.bin", listener=heard)
    assert heard.of("unverified") == [{"event": "unverified", "name": "a.bin", "sha256": SUM}]
    # The file is damaged: it is brought again, and is the same.
    (tmp_path / "a.bin").write_bytes(DATA[:-1])
    assert fetch(url, tmp_path / "a.bin", listener=heard) == SUM
    assert (tmp_path / "a.bin").read_bytes() == DATA
    assert len(heard.of("unverified")) == 1
    # The publisher's file is another one now.
    site.add("a.bin", OTHER)
    (tmp_path / "a.bin").unlink()
    with pytest.raises(DataError, match=rf"expected {SUM}; .*delete its entry in .*\.downloads\.json to take the new"):
        fetch(url, tmp_path / "a.bin")
    assert rest(tmp_path) == [".downloads.json"]


def test_a_file_of_somebody_is_taken_or_left_but_never_replaced(site: Site, tmp_path: Path):
    heard = Listening()
    url = site.add("a.bin", DATA)
    (tmp_path / "a.bin").write_bytes(OTHER)
    with pytest.raises(DataError, match=rf"is another file: it has sha256 .*, its publisher's has {SUM}; move it away"):
        fetch(url, tmp_path / "a.bin", sha256=SUM)
    assert fetch(url, tmp_path / "a.bin", listener=heard) == hashlib.sha256(OTHER).hexdigest()
    assert (tmp_path / "a.bin").read_bytes() == OTHER
    assert heard.of("unverified")
    assert not Ledger(tmp_path).read()["a.bin"].ours
    assert site.asked == []


@pytest.mark.parametrize(
    "url", ["http://example.org/a", "ftp://example.org/a", "file:///etc/passwd", "https:///a", "a.bin", ""]
)
def test_only_https_is_asked(tmp_path: Path, url: str):
    with pytest.raises(InputError, match="only https:// is downloaded"):
        fetch(url, tmp_path / "a.bin")
    with pytest.raises(InputError):
        remote_size(url)
    assert rest(tmp_path) == []


def test_redirects(site: Site, tmp_path: Path):
    site.add("b.bin", DATA)
    url = site.add("a.bin", b"", plan=[("to", f"{site.address}/b.bin")])
    assert fetch(url, tmp_path / "a.bin") == SUM
    for target in ("http://example.org/b.bin", "ftp://127.0.0.1/b.bin", "file:///etc/passwd"):
        url = site.add("c.bin", b"", plan=[("to", target)])
        with pytest.raises(DataError):
            fetch(url, tmp_path / "c.bin")
    assert not (tmp_path / "c.bin").exists()


def test_https(certificate: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with serving(certificate) as secure, serving() as plain:
        plain.add("a.bin", DATA)
        url = secure.add("a.bin", DATA, plan=[("end", 1_500_000)])
        with pytest.raises(DataError, match=r"certificate is not trusted \(.*SSL_CERT_FILE"):
            fetch(url, tmp_path / "a.bin")
        assert remote_size(url) is None
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
        assert remote_size(url) == len(DATA)
        assert fetch(url, tmp_path / "a.bin", sha256=SUM) == SUM
        assert secure.ranges() == [None, "bytes=1500000-"]
        url = secure.add("b.bin", b"", plan=[("to", f"{plain.address}/a.bin")])
        with pytest.raises(DataError, match=r"redirects to http://127.*; only https:// is downloaded"):
            fetch(url, tmp_path / "b.bin")
        url = secure.add("c.bin", b"", plan=[("to", f"{secure.address}/a.bin")])
        assert fetch(url, tmp_path / "c.bin") == SUM
    assert plain.asked == []


def test_remote_size(site: Site):
    assert remote_size(site.add("a.bin", DATA)) == len(DATA)
    assert remote_size(site.add("b.bin", DATA, says_length=False)) is None
    assert remote_size(f"{site.address}/gone") is None


def test_a_full_disk(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    url = site.add("a.bin", DATA)
    with monkeypatch.context() as patch:
        patch.setattr(download.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000}))  # noqa: ARG005
        with pytest.raises(StorageError, match=r"0\.0 GB free, the file needs 0\.0 GB more"):
            fetch(url, tmp_path / "a.bin")
    assert rest(tmp_path) == []

    def fail(file: Any, chunk: bytes) -> None:
        if file.tell() > 1_000_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        file.write(chunk)

    with monkeypatch.context() as patch:
        patch.setattr(download, "_write", fail)
        with pytest.raises(StorageError, match="No space left on device; free space"):
            fetch(url, tmp_path / "a.bin")
    assert (tmp_path / ".a.bin.part").read_bytes() == DATA[: (tmp_path / ".a.bin.part").stat().st_size]
    # With space again, it goes on.
    assert fetch(url, tmp_path / "a.bin") == SUM
    assert site.ranges()[-1] is not None


def test_a_folder_that_cannot_be_written(site: Site, tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="a.bin"):  # noqa: RUF043
        fetch(site.add("a.bin", DATA), tmp_path / "file" / "a.bin")


def test_two_at_once(site: Site, tmp_path: Path):
    pytest.importorskip("fcntl")
    url = site.add("a.bin", DATA)
    second: list[BaseException] = []

    def meanwhile(event: dict[str, Any]) -> None:
        if event["event"] == "download" and not second:
            with pytest.raises(StorageError, match=r"another process downloads .*a\.bin at the moment") as raised:
                fetch(url, tmp_path / "a.bin")
            second.append(raised.value)

    assert fetch(url, tmp_path / "a.bin", listener=meanwhile) == SUM
    assert len(second) == 1


def test_faults_of_the_ledger(site: Site, tmp_path: Path):
    for name in ("a", "b", "c", "d"):
        fetch(site.add(name, DATA), tmp_path / name)
    ledger = Ledger(tmp_path)
    heard = Listening()
    assert list(ledger.faults(heard)) == []
    assert heard.of("checksum")[-1]["done"] == heard.of("checksum")[-1]["total"] == 4 * len(DATA)
    (tmp_path / "a").write_bytes(DATA[:-1])
    (tmp_path / "b").write_bytes(b"x" + DATA[1:])
    (tmp_path / "c").unlink()
    faults = list(ledger.faults())
    assert faults[0] == f"{tmp_path / 'a'} has 2,999,999 bytes, 3,000,000 were downloaded"
    assert faults[1].endswith(f", downloaded was {SUM}")
    assert faults[2] == f"{tmp_path / 'c'} was downloaded and is gone"
    assert len(faults) == 3
    for text in ("{", '{"format": 9}', '{"format": 1, "files": {"a": {"colour": 1}}}', '{"format": 1, "files": []}'):
        ledger.path.write_text(text)
        with pytest.raises(StorageError, match="downloads"):
            ledger.read()


def test_progress_counts_from_any_thread(monkeypatch: pytest.MonkeyPatch):
    heard = Listening()
    progress = Progress("decode", "x", 4000, heard)
    threads = [threading.Thread(target=lambda: [progress.add(1) for _ in range(1000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert heard[-1]["done"] == 4000
    assert heard[-1]["eta"] == 0
    assert len(heard) < 4000


def test_what_is_safe():
    assert all(map(https._is_safe, ["https://a.org/b", "http://localhost:1/a", "http://127.0.0.1/a", "http://[::1]/a"]))
    assert not any(map(https._is_safe, ["http://127.0.0.1.evil.org/", "http://localhost@evil.org/", "https://"]))
