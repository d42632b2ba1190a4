from __future__ import annotations

import errno
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from builders import Listening
from pertinent import files as files_module
from pertinent.data.images import ArraySource, FolderSource
from pertinent.data.table import ImageTable, Judgement
from pertinent.data.transforms import Preprocess
from pertinent.engine import partial as engine
from pertinent.engine.embed import embed_table
from pertinent.errors import DataError, ImageError, InputError, StorageError
from pertinent.models.encoder import Encoder, EncoderConfig
from pertinent.store import EmbeddingStore

COUNT = 10
PIXELS = np.random.default_rng(0).integers(0, 255, (COUNT, 24, 24, 3), dtype=np.uint8)
LABELS = np.stack([np.arange(COUNT) // 2, np.arange(COUNT) // 5], 1)
NAMES = [[f"kind {i}" for i in range(5)], ["left", "right"]]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    torch.manual_seed(0)
    return Encoder(EncoderConfig(backbone="test_resnet", dim=6), Preprocess(resize=None, crop=24)).eval()


@pytest.fixture
def files(tmp_path: Path) -> ImageTable:
    """Pictures in files, so that some can be damaged."""
    names = [f"{i}.png" for i in range(COUNT)]
    (tmp_path / "pictures").mkdir()
    for name, pixels in zip(names, PIXELS, strict=True):
        Image.fromarray(pixels).save(tmp_path / "pictures" / name)
    return ImageTable(names, FolderSource(tmp_path / "pictures", names), "tree", LABELS, ["kind", "side"], NAMES)


def harm(table: ImageTable, *rows: int) -> None:
    for row in rows:
        path = Path(table.source.where(row))
        path.write_bytes(path.read_bytes()[:200])


def mend(table: ImageTable, *rows: int) -> None:
    for row in rows:
        Image.fromarray(PIXELS[row]).save(table.source.where(row))


def stop_after(done: int, error: type[BaseException] = KeyboardInterrupt) -> Listening:
    def act(event: dict[str, Any]) -> None:
        if event["done"] >= done:
            raise error

    return Listening(act)


def test_a_store_of_all_that_the_table_says(encoder: Encoder, files: ImageTable, tmp_path: Path):
    events = Listening()
    store = embed_table(encoder, files, str(tmp_path / "s"), batch_size=4, listener=events, extra={"by": "me"})
    opened = EmbeddingStore.open(tmp_path / "s")
    opened.verify()
    want = encoder.embed([Image.fromarray(pixels) for pixels in PIXELS])
    torch.testing.assert_close(torch.from_numpy(np.array(opened.vectors)), want)
    assert (store.ids, store.places) == (files.ids, [files.source.where(row) for row in range(COUNT)])
    assert (store.labels.kind, store.labels.words(9)) == ("tree", ["kind 4", "right"])
    assert (store.encoder, store.manifest["table"]) == (encoder.fingerprint(), files.fingerprint())
    assert (store.manifest["damaged"], store.manifest["by"]) == ([], "me")
    assert [(event["done"], event["total"]) for event in events] == [(4, 10), (8, 10), (10, 10)]
    assert all(event["rate"] > 0 and event["eta"] >= 0 for event in events)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pictures", "s"]


def test_worker_processes_change_nothing(encoder: Encoder, files: ImageTable, tmp_path: Path):
    one = embed_table(encoder, files, tmp_path / "one", batch_size=4)
    two = embed_table(encoder, files, tmp_path / "two", batch_size=4, workers=2)
    np.testing.assert_array_equal(one.vectors, two.vectors)


def test_the_content_is_that_of_the_pixels(encoder: Encoder, files: ImageTable, tmp_path: Path):
    def content(table: ImageTable, batch_size: int = 4) -> str:
        found: str = embed_table(encoder, table, tmp_path / "s", batch_size=batch_size).manifest["content"]
        return found

    digests = [hashlib.sha256(b"(24, 24)" + pixels.tobytes()).digest() for pixels in PIXELS]
    whole = hashlib.sha256(b"".join(digests)).hexdigest()
    assert content(files) == content(files, 3) == content(replace(files, source=ArraySource(PIXELS))) == whole
    assert content(files.subset(range(9))) == hashlib.sha256(b"".join(digests[:9])).hexdigest()
    assert content(replace(files, boxes={3: (0, 0, 20, 24)})) != whole
    changed = PIXELS[3].copy()
    changed[0, 0, 0] ^= 1
    Image.fromarray(changed).save(files.source.where(3))
    assert content(files) != whole, "one pixel of one picture"


def test_every_part_of_the_encoder_has_its_mode_back(encoder: Encoder, files: ImageTable, tmp_path: Path):
    training = Encoder(encoder.config, encoder.preprocess).train()
    norm = next(part for part in training.modules() if isinstance(part, nn.BatchNorm2d)).eval()
    before = training.fingerprint()
    embed_table(training, files, tmp_path / "s")
    assert training.training
    assert not norm.training
    assert training.fingerprint() == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_stopped_and_done_again_it_gives_the_same_store(
    encoder: Encoder, files: ImageTable, tmp_path: Path, error: type[BaseException]
):
    harm(files, 1, 7)
    options = {"batch_size": 3, "skip_damaged": True}
    whole = embed_table(encoder, files, tmp_path / "whole", **options)
    for done in (3, 9):
        with pytest.raises(error):
            embed_table(encoder, files, tmp_path / "part", listener=stop_after(done, error), **options)
        assert not (tmp_path / "part").exists()
    events = Listening()
    part = embed_table(encoder, files, tmp_path / "part", listener=events, **options)
    assert [event["done"] for event in events] == [10]
    assert part.manifest == whole.manifest
    np.testing.assert_array_equal(part.vectors, whole.vectors)
    assert not (tmp_path / ".part.partial").exists()


def test_progress_is_noted_while_work_goes_on(
    encoder: Encoder, files: ImageTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(engine, "SAVE_EVERY", -1.0)
    noted = []

    def act(event: dict[str, Any]) -> None:
        noted_now = json.loads((tmp_path / ".s.partial" / "progress-0-of-1.json").read_text())
        noted.append(noted_now["done"] + len(noted_now["ahead"]))

    embed_table(encoder, files, tmp_path / "s", batch_size=4, listener=Listening(act))
    assert noted == [4, 8, 10]


def redo(encoder: Encoder, table: ImageTable, folder: Path) -> list[int]:
    events = Listening()
    embed_table(encoder, table, folder, batch_size=5, listener=events)
    return [event["done"] for event in events]


def test_what_another_encoder_or_table_began_is_not_gone_on_with(encoder: Encoder, files: ImageTable, tmp_path: Path):
    def begin() -> None:
        with pytest.raises(KeyboardInterrupt):
            embed_table(encoder, files, tmp_path / "s", batch_size=5, listener=stop_after(5))

    begin()
    assert redo(encoder, files, tmp_path / "s") == [10]
    begin()
    torch.manual_seed(1)
    assert redo(Encoder(encoder.config, encoder.preprocess), files, tmp_path / "s") == [5, 10]
    begin()
    assert redo(encoder, files.subset(range(9)), tmp_path / "s") == [5, 9]


@pytest.mark.parametrize("name", ["progress-0-of-1.json", "vectors.npy", "digests.npy"])
@pytest.mark.parametrize("contents", [None, b"", b"[]", b"{}"])
def test_a_damaged_beginning_is_done_again(
    encoder: Encoder, files: ImageTable, tmp_path: Path, name: str, contents: bytes | None
):
    with pytest.raises(KeyboardInterrupt):
        embed_table(encoder, files, tmp_path / "s", batch_size=5, listener=stop_after(5))
    path = tmp_path / ".s.partial" / name
    path.unlink()
    if contents is not None:
        path.write_bytes(contents)
    assert redo(encoder, files, tmp_path / "s") == [5, 10]


def test_a_damaged_picture_raises_and_names_the_file_and_the_option(
    encoder: Encoder, files: ImageTable, tmp_path: Path
):
    harm(files, 7)
    with pytest.raises(ImageError, match=r"pictures/7\.png: truncated or damaged .*data\.on_error=skip"):
        embed_table(encoder, files, tmp_path / "s", batch_size=4)
    assert not (tmp_path / "s").exists()
    # What was done before is kept, whether the picture is left out now or was mended.
    events = Listening()
    store = embed_table(encoder, files, tmp_path / "s", batch_size=4, skip_damaged=True, listener=events)
    assert [event["done"] for event in events] == [7, 8, 10]
    assert len(store) == 9


def test_damaged_pictures_are_left_out_and_listed(encoder: Encoder, files: ImageTable, tmp_path: Path):
    harm(files, 0, 4, 5, 9)
    store = embed_table(encoder, files, tmp_path / "s", batch_size=2, skip_damaged=True)
    kept = [1, 2, 3, 6, 7, 8]
    assert store.ids == [files.ids[row] for row in kept]
    assert store.places == [files.source.where(row) for row in kept]
    np.testing.assert_array_equal(store.labels.values, LABELS[kept])
    want = encoder.embed([Image.fromarray(PIXELS[row]) for row in kept])
    torch.testing.assert_close(torch.from_numpy(np.array(store.vectors)), want)
    assert [text.split(":")[0].rpartition("/")[2] for text in store.manifest["damaged"]] == [
        "0.png",
        "4.png",
        "5.png",
        "9.png",
    ]


def test_what_was_left_out_before_is_not_passed_over_in_silence(encoder: Encoder, files: ImageTable, tmp_path: Path):
    harm(files, 1)
    with pytest.raises(KeyboardInterrupt):
        embed_table(encoder, files, tmp_path / "s", batch_size=4, skip_damaged=True, listener=stop_after(4))
    with pytest.raises(ImageError, match=r"1\.png"):
        embed_table(encoder, files, tmp_path / "s", batch_size=4)


def test_judgements_move_with_the_pictures_that_are_left(encoder: Encoder, files: ImageTable, tmp_path: Path):
    judgements = [Judgement(0, (1, 2), (3,), (4,)), Judgement(2, (5,)), Judgement(6, (1, 7), (2,), (9,))]
    table = ImageTable(files.ids, files.source, "judged", judgements=judgements)
    harm(files, 1, 2)
    store = embed_table(encoder, table, tmp_path / "s", skip_damaged=True)
    assert store.labels.judgements == [Judgement(0, (), (1,), (2,)), Judgement(4, (5,), (), (7,))]
    table = ImageTable(files.ids, files.source, "judged", judgements=[Judgement(9, ok=(0, 1))], probes=2)
    harm(files, 8)
    labels = embed_table(encoder, table, tmp_path / "t", skip_damaged=True).labels
    assert (labels.judgements, labels.probes) == ([Judgement(6, ok=(0,))], 1)


@pytest.mark.parametrize("kind", ["none", "classes", "tags"])
def test_labels_of_the_other_kinds(encoder: Encoder, files: ImageTable, tmp_path: Path, kind: Any):
    labels = {"none": np.zeros(0, np.int64), "classes": LABELS[:, 0], "tags": LABELS > 1}[kind]
    harm(files, 3)
    store = embed_table(encoder, ImageTable(files.ids, files.source, kind, labels), tmp_path / "s", skip_damaged=True)
    assert store.labels.kind == kind
    if kind == "none":
        assert store.labels.values is None
    else:
        np.testing.assert_array_equal(store.labels.values, np.delete(labels, 3, axis=0))


def test_no_picture_at_all(encoder: Encoder, files: ImageTable, tmp_path: Path):
    with pytest.raises(DataError, match="there is no picture to embed"):
        embed_table(encoder, files.subset([]), tmp_path / "s")
    harm(files, 0, 1)
    few = files.subset([0, 1])
    with pytest.raises(DataError, match=r"none of the 2 pictures could be read, the first: .*0\.png: truncated"):
        embed_table(encoder, few, tmp_path / "s", skip_damaged=True)
    mend(files, 0, 1)
    assert len(embed_table(encoder, few, tmp_path / "s", skip_damaged=True)) == 2
    with pytest.raises(InputError, match="batch_size must be at least 1"):
        embed_table(encoder, files, tmp_path / "t", batch_size=0)


def test_an_older_store_gives_way_and_somebodys_folder_does_not(encoder: Encoder, files: ImageTable, tmp_path: Path):
    embed_table(encoder, files.subset(range(3)), tmp_path / "s")
    assert len(embed_table(encoder, files, tmp_path / "s")) == COUNT
    events = Listening()
    with pytest.raises(StorageError, match=r"pictures holds files that are not ours to replace \(0\.png, 1\.png"):
        embed_table(encoder, files, tmp_path / "pictures", listener=events)
    assert not events, "that is said before the work, not after it"
    assert len(list((tmp_path / "pictures").iterdir())) == COUNT


def full(*arguments: Any, **options: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_told_before_the_work(
    encoder: Encoder, files: ImageTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(files_module.os, "posix_fallocate", full)
    events = Listening()
    with pytest.raises(StorageError, match="No space left on device; free space or choose another folder"):
        embed_table(encoder, files, tmp_path / "s", listener=events)
    assert not events
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"], "what little space there was is given back"


def test_a_file_system_that_cannot_reserve(
    encoder: Encoder, files: ImageTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def unable(*arguments: Any) -> None:
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(files_module.os, "posix_fallocate", unable)
    assert len(embed_table(encoder, files, tmp_path / "s")) == COUNT
    monkeypatch.delattr(files_module.os, "posix_fallocate")
    assert len(embed_table(encoder, files, tmp_path / "t")) == COUNT


def test_a_disk_that_fills_at_the_end_loses_no_work(
    encoder: Encoder, files: ImageTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(np, "save", full)
    with pytest.raises(StorageError, match="No space left on device"):
        embed_table(encoder, files, tmp_path / "s", batch_size=5)
    monkeypatch.undo()
    assert redo(encoder, files, tmp_path / "s") == []
    assert len(EmbeddingStore.open(tmp_path / "s")) == COUNT


def test_an_array_of_pictures(encoder: Encoder, tmp_path: Path):
    store = embed_table(encoder, ImageTable(list("abcdefghij"), ArraySource(PIXELS)), tmp_path / "s")
    assert store.places[2] == "picture 2 of an array"
