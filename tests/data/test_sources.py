from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pertinent.data.datasets import DATASETS
from pertinent.data.sources import SourceFile, source, sources
from pertinent.errors import ConfigError, UnknownNameError


def parse_file(**values: Any) -> SourceFile:
    return SourceFile.model_validate(values)


@pytest.mark.parametrize("name", sources())
def test_every_published_data_set_has_a_reader_that_agrees(name: str, tmp_path: Path):
    DATASETS.get(name).example(tmp_path)
    dataset = DATASETS.get(name)(tmp_path, **getattr(DATASETS.get(name), "example_options", {}))
    published = source(name)
    assert set(published.splits) <= set(dataset.splits)
    kinds = {dataset.split(split).kind for split in published.splits}
    assert (kinds - {"none"} or {"none"}) <= set(published.labels)
    assert published.page.startswith("http")
    assert published.files or published.by_hand


def test_files_have_names_of_their_own():
    for published in sources().values():
        names = [file.name for file in published.each()]
        assert len(set(names)) == len(names)
        assert all(name and "/" not in name and "{" not in name for name in names)
        # Lists come first, so that one sees early whether the pictures are there already.
        kinds = [file.unpack is not None for file in published.each()]
        assert kinds == sorted(kinds)


def test_the_hundred_archives():
    files = source("r1m").each()
    assert [file.name for file in files[:2]] == ["revisitop1m.txt", "revisitop1m.1.tar.gz"]
    assert files[-1].url.endswith("/revisitop1m.100.tar.gz")
    assert len(files) == 101


def test_unknown_names_suggest():
    with pytest.raises(UnknownNameError, match="did you mean 'roxford5k'"):
        source("roxfrd5k")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"url": "http://a.org/b"}, "pattern"),
        ({"url": "https://a.org/b", "file": "../b"}, "must lie in"),
        ({"url": "https://a.org/b", "unpack": "/b"}, "must lie in"),
        ({"url": "https://a.org/b", "flatten": True}, "say unpack"),
        ({"url": "https://a.org/b", "numbers": [1, 2]}, "numbers go with"),
        ({"url": "https://a.org/b", "sha256": "ab"}, "pattern"),
        ({"url": "https://a.org/b", "md5": "ab"}, "pattern"),
        ({"url": "https://a.org/b{number}", "md5": "0" * 32, "numbers": [1, 2]}, "numbers go with"),
        ({"url": "https://a.org/b", "colour": 1}, "Extra inputs"),
    ],
)
def test_a_wrong_row_is_refused(values: dict[str, Any], said: str):
    with pytest.raises(ValueError, match=said):
        parse_file(**values)


def test_a_wrong_table_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from pertinent.data import sources as module

    (tmp_path / "sources.yaml").write_text("cub: {page: x, licence: y, labels: [classes], split: []}")
    monkeypatch.setattr(module, "_TABLE", tmp_path / "sources.yaml")
    sources.cache_clear()
    with pytest.raises(ConfigError, match="did you mean 'splits'"):
        sources()
