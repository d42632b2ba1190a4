"""What answers hold, with examples for /openapi.json."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from pertinent.serve.requests import examples


class Hit(BaseModel):
    """An item that was found; `severity` is told where the query's labels are known: 0 right, 1 nothing shared."""

    model_config = examples(
        {
            "id": "cats/tom.jpg",
            "score": 0.91,
            "labels": ["tom", "cat"],
            "metadata": {"year": 2020},
            "image": "/v1/items/cats%2Ftom.jpg/image",
            "severity": 0.5,
        }
    )

    id: str
    score: float
    labels: list[str]
    metadata: dict[str, str | int | float | bool]
    image: str
    severity: float | None = None


class Explanation(BaseModel):
    """How an answer came about."""

    model: str
    index: str
    stages: str
    encoder: str
    fingerprints: dict[str, str | None]
    timings_ms: dict[str, float]


class Hits(BaseModel):
    """What one query found, best first, and how many items the filter leaves."""

    hits: list[Hit]
    total: int
    explain: Explanation | None = None
    vector: list[float] | None = None


class HitsOnly(BaseModel):
    """What one query of several found."""

    hits: list[Hit]


class Results(BaseModel):
    """What several queries found, in their order, and how many items the filter leaves."""

    results: list[HitsOnly]
    total: int
    explain: Explanation | None = None


class Item(BaseModel):
    """What is known of an item."""

    model_config = examples(
        {
            "id": "cats/tom.jpg",
            "labels": ["tom", "cat"],
            "levels": {"animal": "tom", "species": "cat"},
            "metadata": {"year": 2020},
            "image": "/v1/items/cats%2Ftom.jpg/image",
            "file": "tom.jpg",
            "query_only": False,
        }
    )

    id: str
    labels: list[str]
    levels: dict[str, str]
    metadata: dict[str, str | int | float | bool]
    image: str
    file: str
    query_only: bool


class Items(BaseModel):
    """Some items, and how many there are."""

    items: list[Item]
    total: int


class LabelCount(BaseModel):
    """A label and how many items carry it."""

    name: str
    count: int


class Level(BaseModel):
    """The labels of one level."""

    level: str
    labels: list[LabelCount]


class LabelCounts(BaseModel):
    """Every label, level by level, the finest first."""

    kind: str
    levels: list[Level]


class Point(BaseModel):
    """Where an item lies in the plane; `label` is the finest of its labels."""

    id: str
    x: float
    y: float
    label: str
    labels: list[str]


class Map(BaseModel):
    """Items laid out so that those alike lie near each other, `of` so many in the collection."""

    points: list[Point]
    state: Literal["ready", "computing"]
    of: int


class Info(BaseModel):
    """What is served, and how much may be asked for at once."""

    version: str
    models: list[dict[str, Any]]
    labels: str
    changeable: bool
    limits: dict[str, Any]


class ErrorAnswer(BaseModel):
    """What went wrong, and what to do."""

    model_config = examples({"error": "k: at most 1000 results, got 5000", "hint": "see /openapi.json"})

    error: str
    hint: str
