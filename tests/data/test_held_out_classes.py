"""Splits that are there only when training classes are held out, in every data set that can."""

from __future__ import annotations

from pathlib import Path

import pytest

from pertinent.data.datasets import DATASETS
from pertinent.errors import InputError, UnknownNameError

READERS = ["cars", "cub", "dyml_animal", "dyml_product", "dyml_vehicle", "inat_base", "inat_full", "inshop", "sop"]


@pytest.mark.parametrize("name", READERS)
def test_val_without_classes_held_out_tells_what_makes_it(name: str, tmp_path: Path) -> None:
    reader = DATASETS.get(name)
    reader.example(tmp_path)
    for split in ("val", "trainval"):
        with pytest.raises(InputError, match=rf"{name} has no {split} unless .* set data\.holdout=0\.1"):
            reader(tmp_path).split(split)
        assert len(reader(tmp_path, holdout=0.5).split(split))
    with pytest.raises(UnknownNameError, match="did you mean 'train'"):
        reader(tmp_path).split("trian")
