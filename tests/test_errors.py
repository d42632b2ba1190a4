from __future__ import annotations

import pickle

import pytest

from pertinent import errors
from pertinent.errors import (
    ConfigError,
    DataError,
    ImageError,
    InputError,
    MissingDependencyError,
    PertinentError,
    StorageError,
    TrainingError,
    UnknownNameError,
    suggest,
)

EXAMPLES = [
    PertinentError("anything"),
    InputError("k must be at least 1, got 0"),
    UnknownNameError("loss", "happ", ["hap", "cluster"]),
    ConfigError(["a: is required", "b: unknown key"], source="r.yaml"),
    DataError("no pictures"),
    ImageError("a.jpg", "the file is empty"),
    TrainingError("loss became nan"),
    StorageError("no store"),
    MissingDependencyError("install faiss-cpu"),
]


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_one_tree_whose_members_survive_a_process_boundary(error: PertinentError) -> None:
    assert isinstance(error, PertinentError)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert again.__dict__ == error.__dict__


def test_every_error_is_tried() -> None:
    defined = {value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)}
    assert defined == {type(error) for error in EXAMPLES}


def test_errors_are_also_what_python_would_raise() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        raise InputError("k must be at least 1")
    with pytest.raises(KeyError):
        raise UnknownNameError("loss", "x", [])
    with pytest.raises(DataError):
        raise ImageError("a.jpg", "truncated")


def test_unknown_name_says_the_name_and_the_near_one_without_quotes_around_all() -> None:
    error = UnknownNameError("loss", "happ", ["cluster", "hap"])
    assert str(error) == "unknown loss 'happ'; did you mean 'hap'?"
    assert (error.what, error.name, error.known) == ("loss", "happ", ["cluster", "hap"])


def test_config_error_lists_every_problem() -> None:
    assert str(ConfigError(["a: is required"])) == "recipe: 1 problem\n  - a: is required"
    two = ConfigError(["a: is required", "b: unknown key"], source="r.yaml")
    assert str(two) == "r.yaml: 2 problems\n  - a: is required\n  - b: unknown key"
    assert two.problems == ["a: is required", "b: unknown key"]


def test_image_error_names_the_file() -> None:
    error = ImageError("photos/a.jpg", "truncated")
    assert str(error) == "photos/a.jpg: truncated"
    assert (error.where, error.reason) == ("photos/a.jpg", "truncated")


@pytest.mark.parametrize(
    ("name", "known", "tail"),
    [
        ("clustr", ["cluster", "hap"], "; did you mean 'cluster'?"),
        ("r@2", ["r@1", "r@5", "hap"], "; did you mean 'r@5' or 'r@1'?"),
        ("zzz", ["a", "b"], "; known: a, b"),
        ("zzz", [], "; nothing of that kind is registered"),
    ],
)
def test_suggest(name: str, known: list[str], tail: str) -> None:
    assert suggest(name, known) == tail


def test_suggest_shows_no_more_than_twenty() -> None:
    tail = suggest("zzz", [f"name{number}" for number in range(21)])
    assert tail.endswith("name19, ...")
    assert not suggest("zzz", [f"name{number}" for number in range(20)]).endswith("...")
