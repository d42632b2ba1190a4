from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from pertinent.config import Settings, apply_words, check_value, parse, read_yaml
from pertinent.errors import ConfigError


class Inner(Settings):
    depth: int = Field(default=1, ge=1)
    name: Literal["a", "b"] = "a"


class Outer(Settings):
    rate: float
    inner: Inner = Inner()
    many: dict[str, Inner] = Field(default_factory=dict)
    maybe: Inner | None = None
    source: bool | Path = False
    sides: tuple[int, int] = (1, 1)


def yaml_file(folder: Path, text: str) -> Path:
    path = folder / "r.yaml"
    path.write_text(text)
    return path


def values_of(folder: Path, text: str) -> dict[str, Any]:
    return read_yaml(yaml_file(folder, text))


def test_settings_are_fixed_once_made() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Inner().depth = 3  # type: ignore[misc]


def test_read_yaml(tmp_path: Path) -> None:
    text = "a: 1\nb: {c: [x, 2.5, true, null]}\nd: text\n"
    assert values_of(tmp_path, text) == {"a": 1, "b": {"c": ["x", 2.5, True, None]}, "d": "text"}


@pytest.mark.parametrize(
    ("text", "number"),
    [("1e-4", 1e-4), ("1E5", 1e5), ("-2e+3", -2000.0), ("1.e2", 100.0), ("1_0e1", 100.0), (".5e-3", 5e-4), ("3", 3)],
)
def test_numbers_that_plain_yaml_takes_for_text(tmp_path: Path, text: str, number: float) -> None:
    value = values_of(tmp_path, f"a: {text}")["a"]
    assert value == number
    assert type(value) is type(number)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_comes_back(value: float) -> None:
    assert apply_words({}, [f"a={value!r}"])["a"] == value


def test_texts_that_only_look_like_numbers_or_truths_stay_texts(tmp_path: Path) -> None:
    text = "{a: e5, b: 1e, c: x1e5, d: '1e5', e: on, f: no, g: off, h: Yes, i: TRUE, j: false}"
    assert values_of(tmp_path, text) == {
        "a": "e5",
        "b": "1e",
        "c": "x1e5",
        "d": "1e5",
        "e": "on",
        "f": "no",
        "g": "off",
        "h": "Yes",
        "i": True,
        "j": False,
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3\n", "key 'a' is given twice"),
        ("x: {a: 1, a: 2}\n", "key 'a' is given twice"),
        ("a: [1\n", "is not valid YAML"),
        ("a: !!python/object/apply:os.system ['true']\n", "is not valid YAML"),
        ("? [1, 2]\n: 3\n", "a key must be a plain word"),
        ("a: 2024-99-99\n", "is not valid YAML"),
        ("a: \x00\n", "is not valid YAML"),
        ("- 1\n- 2\n", "must hold `key: value` lines, holds list"),
        ("", "must hold `key: value` lines, holds NoneType"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, text: str, said: str) -> None:
    path = yaml_file(tmp_path, text)
    with pytest.raises(ConfigError) as error:
        read_yaml(path)
    assert said in str(error.value)
    assert str(path) in str(error.value)


def test_missing_and_binary_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_yaml(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        read_yaml(tmp_path)
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(ConfigError, match="is not valid YAML"):
        read_yaml(tmp_path / "b.yaml")


def test_words_set_nested_values_and_leave_the_original_alone() -> None:
    original = {"a": {"b": 1, "c": {"d": 2}}, "e": [1], "f": {"g": 1, "h": 2}}
    changed = apply_words(original, ["a.b=5", "a.c.new=x y", "e=[2, 3]", "z.y.x=null", "f={h: 3, i: 4}", "t="])
    assert changed == {
        "a": {"b": 5, "c": {"d": 2, "new": "x y"}},
        "e": [2, 3],
        "f": {"g": 1, "h": 3, "i": 4},
        "z": {"y": {"x": None}},
        "t": "",
    }
    assert original == {"a": {"b": 1, "c": {"d": 2}}, "e": [1], "f": {"g": 1, "h": 2}}


def test_a_value_may_hold_an_equals_sign_and_a_null_may_become_a_section() -> None:
    assert apply_words({"a": None}, ["a.b=c=d"]) == {"a": {"b": "c=d"}}


def test_wrong_words_are_told_together() -> None:
    with pytest.raises(ConfigError) as error:
        apply_words({"a": 1}, ["epochs", "=3", "a.b=1", "c=[", "d=2024-99-99", "e={a: 1, a: 2}", "f=1"])
    assert error.value.problems == [
        "'epochs': expected key=value, for example train.epochs=5",
        "'=3': expected key=value, for example train.epochs=5",
        "a.b: a is a plain value, nothing can be set inside it",
        "c: '[' is not a value; quote it if it is text",
        "d: '2024-99-99' is not a value; quote it if it is text",
        "e: '{a: 1, a: 2}' is not a value; quote it if it is text",
    ]


def test_parse() -> None:
    made = parse(Outer, {"rate": 0.5, "inner": {"depth": 3}, "many": {"x": {}}}, "r.yaml")
    assert (made.rate, made.inner.depth, made.many["x"].name) == (0.5, 3, "a")


def test_parse_tells_every_problem_at_its_key_with_the_near_one() -> None:
    values = {
        "inner": {"depht": 2, "name": "c"},
        "many": {"x": {"depth": 0}, "y": {"nam": "a"}},
        "maybe": {"deep": 1},
        "source": [1],
        "sides": [1],
        "rte": 1,
    }
    with pytest.raises(ConfigError) as error:
        parse(Outer, values, "r.yaml")
    assert str(error.value).startswith("r.yaml: 9 problems")
    assert sorted(error.value.problems) == [
        "inner.depht: unknown key; did you mean 'depth'?",
        "inner.name: Input should be 'a' or 'b', got 'c'",
        "many.x.depth: Input should be greater than or equal to 1, got 0",
        "many.y.nam: unknown key; did you mean 'name'?",
        "maybe.deep: unknown key; did you mean 'depth'?",
        "rate: is required",
        "rte: unknown key; did you mean 'rate'?",
        "sides.1: is required",
        "source: Input should be a valid boolean or Input is not a valid path for <class 'pathlib.Path'>",
    ]


def test_not_a_number_is_no_setting() -> None:
    with pytest.raises(ConfigError, match="rate: Input should be a finite number, got nan"):
        parse(Outer, {"rate": float("nan")}, "r.yaml")


class Opaque:
    """What no recipe can write down."""


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (int, 3),
        (float, 3),
        (float, 0.5),
        (Path | None, "a/b"),
        (Path | None, None),
        (float | Sequence[float], [0.5, 1]),
        (tuple[int, int], [1, 2]),
        (Literal["a", "b"], "a"),
        (bool, True),
        (Opaque | str, "by its name"),
    ],
)
def test_values_that_fit(annotation: Any, value: Any) -> None:
    assert check_value(annotation, value) is None


@pytest.mark.parametrize(
    ("annotation", "value", "said"),
    [
        (int, "3", "Input should be a valid integer, got '3'"),
        (int, 3.5, "Input should be a valid integer, got 3.5"),
        (float, "abc", "Input should be a valid number, got 'abc'"),
        (bool, 1, "Input should be a valid boolean, got 1"),
        (Literal["a", "b"], "c", "Input should be 'a' or 'b', got 'c'"),
        (int | None, [1], "Input should be a valid integer, got [1]"),
        (float | Sequence[float], "x", "Input should be a valid number or Input should be a valid array, got 'x'"),
        (Opaque | str, 3, "Input should be a valid string, got 3"),
        (Opaque | None, {"a": 1}, "Only Python code can give this option, got {'a': 1}"),
    ],
)
def test_values_that_do_not_fit(annotation: Any, value: Any, said: str) -> None:
    assert check_value(annotation, value) == said


def test_what_is_set_joins_what_is_there_and_nothing_takes_it_away() -> None:
    settings = {"optim": {"groups": {"head.*": {"lr": 1}}}}
    assert apply_words(settings, ["optim.groups={'backbone.*': {lr: 2}}"])["optim"]["groups"].keys() == {
        "head.*",
        "backbone.*",
    }
    assert apply_words(settings, ["optim.groups={}"]) == {"optim": {"groups": {}}}
