from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from pertinent.engine.run import Run
from pertinent.engine.search import Searcher, open_searcher
from pertinent.errors import ImageError, StorageError
from pertinent.index import Index
from pertinent.models.encoder import Encoder
from pertinent.store import EmbeddingStore


def test_a_run_finds_its_own_pictures_first(finished_run: Run, pictures: Path):
    searcher = open_searcher(finished_run.folder)
    names = ["test/warm/red/0.png", "test/cold/blue/1.png"]
    results = searcher.search([str(pictures / names[0]), pictures / names[1]], k=3)
    assert [len(hits) for hits in results] == [3, 3]
    for name, hits in zip(names, results, strict=True):
        assert hits[0]["id"] == name
        assert hits[0]["path"] == str(pictures / name)
        assert hits[0]["score"] == pytest.approx(1.0, abs=1e-5)
        assert hits[0]["labels"] == [name.split("/")[2], name.split("/")[1]]
        assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)
        assert hits[0].keys() == {"id", "path", "score", "labels"}


def test_the_served_ranking_is_that_of_the_vectors(finished_run: Run, pictures: Path):
    picture = pictures / "val" / "cold" / "cyan" / "0.png"
    vector = Encoder.load(finished_run.encoder("best")).embed([picture])[0]
    store = EmbeddingStore.open(finished_run.store("best"))
    scores = torch.from_numpy(store.vectors.copy()) @ vector
    want = [store.ids[place] for place in scores.argsort(descending=True, stable=True).tolist()]
    hits = open_searcher(finished_run.folder).search([picture], k=99)[0]
    assert [hit["id"] for hit in hits] == want


def test_an_index_with_the_encoder_that_made_it(finished_run: Run, pictures: Path):
    picture = pictures / "test" / "warm" / "red" / "0.png"
    by_parts = open_searcher(finished_run.index, finished_run.encoder("best"))
    assert by_parts.search([picture]) == open_searcher(finished_run.folder).search([picture])
    assert isinstance(by_parts, Searcher)


def test_what_does_not_belong_together(finished_run: Run):
    with pytest.raises(StorageError, match="is an index; name the encoder that made its vectors with --model"):
        open_searcher(finished_run.index)
    with pytest.raises(StorageError, match=r"did not make the vectors of .*; embed again with this encoder"):
        open_searcher(finished_run.index, finished_run.encoder("before"))
    with pytest.raises(StorageError, match="did not make the vectors"):
        open_searcher(finished_run.folder, finished_run.encoder("before"))


def test_an_index_of_vectors_from_elsewhere_takes_any_encoder(finished_run: Run, tmp_path: Path, pictures: Path):
    store = EmbeddingStore.open(finished_run.store("best"))
    bare = EmbeddingStore.write(tmp_path / "store", store.vectors, store.ids)
    Index.build(bare).save(tmp_path / "index")
    searcher = open_searcher(tmp_path / "index", finished_run.encoder("before"))
    hit = searcher.search([pictures / "test" / "warm" / "red" / "0.png"], k=1)[0][0]
    assert (hit["labels"], hit["path"]) == ([], hit["id"])


def test_a_run_that_is_not_finished(finished_run: Run, tmp_path: Path):
    shutil.copytree(finished_run.folder, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "index")
    with pytest.raises(StorageError, match="has no index yet; let its training end first"):
        open_searcher(tmp_path / "run")
    with pytest.raises(StorageError, match="holds no index"):
        open_searcher(tmp_path)


def test_pictures_that_cannot_be_read(finished_run: Run, tmp_path: Path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(ImageError, match=r"a\.png: "):
        open_searcher(finished_run.folder).search([tmp_path / "a.png"])


def test_a_folder_that_is_not_there():
    with pytest.raises(StorageError, match="there is no folder nowhere; give a run folder, or an index folder"):
        open_searcher(Path("nowhere"))
