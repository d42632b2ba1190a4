"""Preprocess and Augment that are given in words: settings, files, recipes and the pictures that come out."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from pydantic import ValidationError

from builders import run_recipe
from pertinent.data.transforms import Augment, Preprocess
from pertinent.engine.recipe import Recipe, load_recipe
from pertinent.engine.run import Run
from pertinent.errors import ConfigError, InputError, UnknownNameError
from pertinent.models.encoder import Encoder, EncoderConfig

# Of settings that were written before there were words.
OLD_PREPROCESS = "9c9f70880f597d4326a19c876d48e64cfc3aef6056418cfc42b8627d41d7cefb"
WORDS = "Scale(64), CenterCrop(48)"


def picture(width: int = 60, height: int = 40) -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def normalised(pixels: Image.Image, settings: Preprocess) -> torch.Tensor:
    values = torch.from_numpy(np.asarray(pixels).copy()).permute(2, 0, 1).float() / 255
    return (values - torch.tensor(settings.mean).view(3, 1, 1)) / torch.tensor(settings.std).view(3, 1, 1)


# --- Preprocess


def test_words_take_the_place_of_resize_and_crop():
    settings = Preprocess(words=WORDS)
    assert (settings.resize, settings.crop, settings.size) == (None, None, (48, 48))
    transform = pickle.loads(pickle.dumps(settings.build()))
    out = transform(picture())
    # 40 to 64 on the short side, so 96 x 64, and 48 x 48 out of the middle.
    expected = picture().resize((96, 64), Image.Resampling.BILINEAR).crop((24, 8, 72, 56))
    assert out.dtype == torch.float32
    assert out.is_contiguous()
    torch.testing.assert_close(out, normalised(expected, settings), rtol=0, atol=1e-6)


def test_no_words_are_no_framing():
    out, expected = (one.build()(picture()) for one in (Preprocess(words=""), Preprocess(resize=None, crop=None)))
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-6)


def test_words_with_a_tensor_get_no_numbers():
    out = Preprocess(words="ToTensor()").build()(picture())
    assert torch.equal(out, torch.from_numpy(np.asarray(picture()).copy()).permute(2, 0, 1).float() / 255)


@pytest.mark.parametrize(
    ("words", "size"),
    [
        ("", None),
        ("Scale(64)", None),
        ("PadSquare(30)", (30, 30)),
        ("Scale((40, 30))", (30, 40)),
        ("CenterCrop((3, 4))", (3, 4)),
    ],
)
def test_size(words: str, size: tuple[int, int] | None):
    assert Preprocess(words=words).size == size


def test_the_interpolation_is_that_of_every_resizing_without_one():
    bicubic = Preprocess(interpolation="bicubic", words="Scale(30), Scale(20, interpolation='bilinear')")
    step = picture().resize((45, 30), Image.Resampling.BICUBIC).resize((30, 20), Image.Resampling.BILINEAR)
    torch.testing.assert_close(bicubic.build()(picture()), normalised(step, bicubic), rtol=0, atol=1e-6)
    assert Preprocess.model_validate(bicubic.model_dump()).words == bicubic.words


def test_settings_without_words_are_what_they_were():
    assert Preprocess().fingerprint() == OLD_PREPROCESS
    assert "words" not in Preprocess().model_dump(mode="json")
    assert "words" not in json.loads(Augment().model_dump_json())
    assert list(Augment().model_dump()) == [name for name in Augment.model_fields if name != "words"]
    assert Preprocess.model_validate(Preprocess().model_dump()) == Preprocess()


def test_fingerprints_follow_the_meaning_of_words():
    same = {Preprocess(words=words).fingerprint() for words in (WORDS, "Scale(size=64),CenterCrop((48, 48))")}
    assert len(same) == 1
    others = {Preprocess(words=words).fingerprint() for words in ("", "Scale(64)", "Scale(64, largest=True)")}
    assert len(others | same | {OLD_PREPROCESS}) == 5


def test_with_words_keeps_the_numbers():
    settings = Preprocess(resize=512, crop=448, mean=(0.1, 0.2, 0.3), std=(1, 2, 3), interpolation="bicubic")
    framed = settings.with_words("CenterCrop(input_size), ToTensor, Normalize(mean, std)")
    assert framed.words == "CenterCrop(448), ToTensor(), Normalize((0.1, 0.2, 0.3), (1.0, 2.0, 3.0))"
    assert (framed.mean, framed.std, framed.interpolation) == (settings.mean, settings.std, "bicubic")
    assert framed.with_words("Scale(input_size)").words == "Scale(448)"
    assert Preprocess(resize=None, crop=None).with_words("Scale(input_size)").words == "Scale(224)"
    assert Preprocess(resize=(30, 40), crop=None).with_words("Scale(input_size)").words == "Scale(30)"


def test_with_words_refuses():
    with pytest.raises(UnknownNameError, match="did you mean 'Scale'"):
        Preprocess().with_words("Scal(3)")
    with pytest.raises(InputError, match="Scale: size must be"):
        Preprocess().with_words("Scale(0)")
    with pytest.raises(InputError, match=r"RandomFlip\(\) is random, and a Preprocess prepares every picture alike"):
        Preprocess().with_words("Scale(8), RandomFlip")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"words": WORDS, "crop": 224}, "words take the place of crop; set crop to null"),
        ({"words": WORDS, "crop": 224, "resize": 256}, "words take the place of resize and crop"),
        ({"words": "Scal(3)"}, "unknown transform 'Scal'; did you mean 'Scale'"),
        ({"words": "Scale(0)"}, "size must be a side from 1"),
        ({"words": "RandomFlip()"}, "is random"),
        ({"words": 3}, "valid string"),
        ({"words": "Normalize(mean, std)", "std": (0, 0, 0)}, "greater than 0"),
    ],
)
def test_wrong_words_are_refused(wrong: dict[str, object], message: str):
    with pytest.raises(ValidationError, match=message):
        Preprocess(**wrong)  # type: ignore[arg-type]


# --- Augment

RANDOM_WORDS = (
    "RandomScale(40, 50, can_upscale=True), RandomCrop(input_size), RandomFlip, ColorJitter(0.2), RandomErasing(0.3)"
)


def test_augment_in_words():
    augment, preprocess = Augment(words=RANDOM_WORDS), Preprocess(words="CenterCrop(32)")
    transform = pickle.loads(pickle.dumps(augment.build(preprocess)))
    torch.manual_seed(3)
    first = [transform(picture()) for _ in range(5)]
    torch.manual_seed(3)
    assert all(torch.equal(one, transform(picture())) for one in first)
    assert all(one.shape == (3, 32, 32) and one.dtype == torch.float32 for one in first)
    assert not torch.equal(first[0], first[1])


def test_augment_takes_numbers_and_interpolation_from_the_preprocess():
    preprocess = Preprocess(mean=(0.1, 0.2, 0.3), std=(1, 2, 3), interpolation="bicubic", resize=None, crop=20)
    out = Augment(words="Scale(30), CenterCrop(input_size)").build(preprocess)(picture())
    expected = preprocess.with_words("Scale(30), CenterCrop(20)").build()(picture())
    assert torch.equal(out, expected)
    named = Augment(words="Scale(30), CenterCrop(20), ToTensor, Normalize(mean, std)").build(preprocess)
    assert torch.equal(named(picture()), expected)


def test_augment_in_words_is_written_as_words_alone():
    augment = Augment(words=RANDOM_WORDS)
    assert augment.model_dump(mode="json") == {"words": RANDOM_WORDS}
    assert Augment.model_validate_json(augment.model_dump_json()) == augment


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"words": "RandomFlip", "hflip": 0.5}, "words take the place of all other settings; take out hflip"),
        ({"words": "", "scale": (0.1, 1), "framing": "evaluation"}, "take out framing, scale"),
        ({"words": "RandomFlp"}, "did you mean 'RandomFlip'"),
        ({"words": "RandomCrop()"}, "size must be given"),
    ],
)
def test_wrong_augment_words_are_refused(wrong: dict[str, object], message: str):
    with pytest.raises(ValidationError, match=message):
        Augment(**wrong)  # type: ignore[arg-type]


def test_words_that_do_not_work_with_the_numbers_of_the_preprocess():
    augment = Augment(words="Scale(16384 * 224 // input_size), CenterCrop(input_size)")
    with pytest.raises(InputError, match="Scale: size must be"):
        augment.build(Preprocess(crop=112))


def test_the_framing_of_the_evaluation_may_be_words():
    preprocess = Preprocess(words="Scale(30), CenterCrop(24)")
    out = Augment(framing="evaluation", hflip=0).build(preprocess)(picture())
    torch.testing.assert_close(out, preprocess.build()(picture()), rtol=0, atol=1e-6)
    flipped = Augment(framing="evaluation", hflip=1).build(preprocess)(picture())
    torch.testing.assert_close(flipped, preprocess.build()(picture()).flip(2), rtol=0, atol=1e-6)
    assert Augment(hflip=0).build(preprocess)(picture()).shape == (3, 24, 24)
    with pytest.raises(InputError, match="take ToTensor out of them"):
        Augment(framing="evaluation").build(Preprocess(words="Scale(30), ToTensor"))


# --- the paths that settings walk


def test_an_encoder_keeps_its_words(tmp_path: Path):
    config = EncoderConfig(backbone="test_resnet", dim=8)
    torch.manual_seed(0)
    encoder = Encoder(config, Preprocess().with_words("Scale(40), CenterCrop(32)")).eval()
    encoder.save(tmp_path / "encoder")
    again = Encoder.load(tmp_path / "encoder")
    assert again.preprocess == encoder.preprocess
    assert again.fingerprint() == encoder.fingerprint()
    assert torch.equal(again.embed([picture()]), encoder.embed([picture()]))
    written = json.loads((tmp_path / "encoder" / "encoder.json").read_text())["preprocess"]
    assert written["words"] == "Scale(40), CenterCrop(32)"
    again.preprocess = Preprocess()
    again.save(tmp_path / "plain")
    assert "words" not in json.loads((tmp_path / "plain" / "encoder.json").read_text())["preprocess"]


def test_pictures_of_their_own_sizes_go_through_an_encoder():
    torch.manual_seed(0)
    encoder = Encoder(EncoderConfig(backbone="test_resnet", dim=8), Preprocess(words="Scale(0.5)")).eval()
    several = encoder.embed([picture(), picture(80, 64), picture()])
    assert torch.equal(several[0], several[2])
    torch.testing.assert_close(several[1:2], encoder.embed([picture(80, 64)]))


WORDS_OF_RECIPE = [
    "preprocess.resize=null",
    "preprocess.crop=null",
    "preprocess.words=Scale(64), CenterCrop(48)",
    "augment.words=RandomScale(48, 64, can_upscale=True), RandomCrop(input_size), RandomFlip",
]


def test_a_recipe_in_words(recipe_file: Path, tmp_path: Path):
    recipe = load_recipe(recipe_file, WORDS_OF_RECIPE)
    assert recipe.preprocess is not None
    assert recipe.preprocess.size == (48, 48)
    run = Run(tmp_path)
    run.save_recipe(recipe)
    assert yaml.safe_load(run.recipe_path.read_text())["augment"] == {"words": WORDS_OF_RECIPE[-1].partition("=")[2]}
    assert run.recipe() == recipe


def test_a_recipe_of_the_framing_of_the_evaluation_is_read_again(recipe_file: Path, tmp_path: Path):
    run = Run(tmp_path)
    recipe = load_recipe(recipe_file, ["augment.framing=evaluation"])
    run.save_recipe(recipe)
    assert run.recipe() == recipe


def test_defaults_of_a_recipe_give_way_to_words(recipe_file: Path, tmp_path: Path):
    values = yaml.safe_load(recipe_file.read_text())
    values["preprocess"] = {"words": WORDS}
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(values))
    assert load_recipe(file).preprocess == Preprocess(words=WORDS)


def test_wrong_words_of_a_recipe_are_all_told(recipe_file: Path):
    with pytest.raises(ConfigError) as error:
        load_recipe(recipe_file, ["preprocess.crop=null", "preprocess.words=Scal(3)", "augment.words=RandomFlip(3)"])
    first, second = error.value.problems
    assert first == "preprocess.words: unknown transform 'Scal'; did you mean 'Scale'?, got 'Scal(3)'"
    assert second.startswith("augment.words: RandomFlip: takes nothing, in 'RandomFlip(3)'")


def test_training_in_words(recipe_file: Path, tmp_path: Path):
    recipe: Recipe = load_recipe(recipe_file, [*WORDS_OF_RECIPE, "train.epochs=1"])
    run = run_recipe(recipe_file, tmp_path / "run", *WORDS_OF_RECIPE, "train.epochs=1")
    assert run.recipe().augment == recipe.augment
    assert Encoder.load(run.encoder("last")).preprocess == recipe.preprocess
