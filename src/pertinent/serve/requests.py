"""What requests hold, with examples for /openapi.json."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import UploadFile
from pydantic import AfterValidator, BaseModel, ConfigDict, FailFast, Field, model_validator

from pertinent.serve.settings import MAX_HITS, MAX_QUERIES

MAX_LIST = 500
LARGEST_WHOLE = 2**53


def _exact(value: str | int | float | bool) -> str | int | float | bool:
    if isinstance(value, int) and abs(value) > LARGEST_WHOLE:
        raise ValueError(f"a whole number must lie within {LARGEST_WHOLE} of 0, as those of JavaScript do")
    return value


Id = Annotated[str, Field(max_length=10_000)]
K = Annotated[int, Field(ge=1, description="how many results; at most the collection's size come back")]
Offset = Annotated[
    int, Field(ge=0, le=MAX_HITS, description="leave out so many of the first results, to see those that follow")
]
Word = Annotated[str, Field(max_length=1000)]
Labels = Annotated[
    list[Word],
    Field(max_length=16, description="only items that carry every one of these label names, at any level"),
]
QueryLabels = Annotated[
    list[Word],
    Field(max_length=1000, description="label names of the query, fine first; each hit then says how far off it is"),
]
Scalar = Annotated[Word | int | float | bool, AfterValidator(_exact)]
Values = Annotated[list[Scalar], Field(min_length=1, max_length=100)]
Metadata = Annotated[
    dict[Word, Scalar | Values],
    Field(max_length=16, description="only items with these values; of a list, one of its values"),
]
MetadataText = Annotated[
    str | None,
    Field(max_length=20_000, description='only items with these values: JSON such as {"year": [2020, 2021]}'),
]
ModelName = Annotated[
    str | None, Field(max_length=1000, description="name of the model, see /v1/info; default the first")
]
Explain = Annotated[bool, Field(description="tell stages, fingerprints and times as well")]
Vector = Annotated[list[float], FailFast()]
Many = Annotated[list[Id], Field(max_length=1000)]
Weight = Annotated[float, Field(ge=0, le=100)]


def examples(*values: dict[str, Any]) -> ConfigDict:
    """Examples of a model for /openapi.json."""
    return ConfigDict(json_schema_extra={"examples": list(values)})


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    k: K = 10
    offset: Offset = 0
    labels: Labels = []
    metadata: MetadataText = None
    labels_of_query: QueryLabels = []
    model: ModelName = None
    explain: Explain = False


class _Body(BaseModel):
    # Strict: a number is a number, and a text is never taken for one.
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    k: K = 10
    offset: Offset = 0
    labels: Labels = []
    metadata: Metadata = {}
    labels_of_query: QueryLabels = []
    model: ModelName = None
    explain: Explain = False


class ImageForm(_Form):
    """A picture to search with."""

    model_config = examples({"image": "(the file)", "k": 5, "region": "10,20,200,180", "labels": ["cat"]})

    image: UploadFile = Field(description="a picture file: JPEG, PNG, WebP, ...")
    region: Annotated[
        str | None,
        Field(max_length=200, description="left,top,right,bottom: use this part, in pixels of the upright picture"),
    ] = None
    with_vector: Annotated[
        bool, Field(description="tell the picture's vector, to go on with /v1/search/vector or /v1/search/refine")
    ] = False


class ImagesForm(_Form):
    """Pictures to search with, each by itself."""

    model_config = examples({"images": ["(a file)", "(a file)"], "k": 5})

    images: list[UploadFile] = Field(min_length=1, max_length=MAX_QUERIES, description="picture files")


class IdBody(_Body):
    """An item to search with; it does not find itself."""

    model_config = examples({"id": "cats/tom.jpg", "k": 5, "metadata": {"year": [2020, 2021]}})

    id: Id


class VectorBody(_Body):
    """One vector to search with, or several."""

    model_config = examples({"vector": [0.6, 0.8], "k": 5}, {"vectors": [[0.6, 0.8], [1.0, 0.0]], "k": 5})

    vector: Vector = []
    vectors: Annotated[list[Vector], FailFast(), Field(min_length=1, max_length=MAX_QUERIES)] = []

    @property
    def one(self) -> bool:
        """Whether a single vector was given."""
        return "vector" in self.model_fields_set

    @model_validator(mode="after")
    def _either(self) -> VectorBody:
        if self.one == ("vectors" in self.model_fields_set):
            raise ValueError("give either vector or vectors")
        return self


class RefineBody(_Body):
    """A search made better by what was right and wrong among its hits.

    The query moves towards the mean of the relevant items and away from that of the irrelevant ones (Rocchio 1971):
    alpha times the query + beta times the mean of the relevant - gamma times the mean of the irrelevant, of vectors at
    length 1.
    """

    model_config = examples({"id": "cats/tom.jpg", "relevant": ["cats/felix.jpg"], "irrelevant": ["dogs/rex.jpg"]})

    id: Id | None = None
    vector: Vector = []
    relevant: Many = []
    irrelevant: Many = []
    alpha: Weight = 1.0
    beta: Weight = 0.75
    gamma: Weight = 0.15

    @model_validator(mode="after")
    def _something(self) -> RefineBody:
        if self.id is not None and self.with_vector:
            raise ValueError("give either id or vector")
        if self.id is None and not self.with_vector and not self.relevant:
            raise ValueError("give id, vector or relevant items")
        return self

    @property
    def with_vector(self) -> bool:
        """Whether the query is given as a vector."""
        return "vector" in self.model_fields_set


class AddForm(BaseModel):
    """A picture for the collection."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"image": "(the file)", "id": "cats/tom.jpg", "labels": ["tom", "cat"], "metadata": '{"year": 2020}'}
            ]
        },
    )

    image: UploadFile = Field(description="a picture file; it is kept as it is")
    id: Annotated[
        str | None,
        Field(min_length=1, max_length=1000, description="replaces the item that has it; default made from the file"),
    ] = None
    labels: Annotated[
        list[Word], Field(max_length=1000, description="label names: one a level, fine first; or tags")
    ] = []
    metadata: Annotated[
        str | None, Field(max_length=20_000, description="a JSON object of texts, numbers and true or false")
    ] = None


class ItemsQuery(BaseModel):
    """Which items to list."""

    model_config = ConfigDict(extra="forbid")

    random: Annotated[int | None, Field(ge=1, le=MAX_LIST, description="so many, drawn by chance")] = None
    offset: Annotated[int, Field(ge=0, le=2**53, description="leave out so many of the first")] = 0
    limit: Annotated[int, Field(ge=1, le=MAX_LIST)] = 50
    label: Labels = []
    metadata: MetadataText = None
    prefix: Annotated[str, Field(max_length=1000, description="of ids")] = ""
    model: ModelName = None

    @model_validator(mode="after")
    def _either(self) -> ItemsQuery:
        if self.random is not None and self.model_fields_set & {"offset", "limit", "prefix"}:
            raise ValueError("random goes with label and metadata alone")
        return self


Search = _Form | _Body
"""What every search takes."""
