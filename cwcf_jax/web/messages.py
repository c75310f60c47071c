"""This module defines the JSON messages of the HTTP API."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0, le=1)]


class Message(BaseModel):
    """A `Message` is a JSON object without unknown fields."""

    model_config = ConfigDict(extra="forbid")


class IndexInfo(Message):
    """An `IndexInfo` contains facts about the index."""

    name: str = Field(description="Name of the folder of photographs.")
    pictures: int = Field(description="Number of pictures in the index.")
    network: str = Field(description="Name of the network.")
    whitening: str = Field(description="The pictures that the whitening was fitted on; empty: no whitening yet.")
    classes: list[str] = Field(description="Names of the network's classes, by index.")


class UploadResponse(Message):
    """An `UploadResponse` describes an uploaded picture."""

    upload: str = Field(description="Name of the upload in later requests: sha256 of the file.")
    width: int = Field(description="Width of the upright picture, pixels.")
    height: int = Field(description="Height of the upright picture, pixels.")


class QueryRequest(Message):
    """A `QueryRequest` is a query: either an uploaded picture or a picture of the index."""

    upload: str | None = Field(None, max_length=64, description="Name of an upload.")
    path: str | None = Field(None, max_length=4096, description="Path of a picture of the index.")
    box: tuple[float, float, float, float] | None = Field(
        None, description="Box x1 y1 x2 y2 in pixels of the upright picture; null: the whole picture."
    )
    classes: list[str] = Field(
        [], max_length=64, description="Names or indices of the classes that describe query and pictures."
    )


class QueryClass(Message):
    """A `QueryClass` is a class of the query and its probability."""

    name: str
    probability: Fraction


class QueryInfo(Message):
    """A `QueryInfo` says how the network sees a query."""

    width: int = Field(description="Width of the upright picture, pixels.")
    height: int = Field(description="Height of the upright picture, pixels.")
    classes: list[QueryClass] = Field(description="Classes of the query, most probable first.")
    heat: list[list[float]] = Field(
        description="Mean class activation map of the requested classes, or of the two most probable ones; rows from "
        "top to bottom, 0 to 1; the cells cover the picture evenly."
    )


class SearchRequest(QueryRequest):
    """A `SearchRequest` is a query and the steps of the search."""

    aggregation: Literal["ofa", "ona"] = "ofa"
    rerank: int = Field(0, ge=0, le=1000, description="Number of best pictures that are re-ranked by their regions.")
    expand: int = Field(
        0, ge=0, le=100, description="Number of best pictures that are added to the query for a second search."
    )
    online: int = Field(
        0, ge=0, le=1000, description="Number of best pictures of OfA that are scored again under the query's classes."
    )
    reciprocal: int = Field(
        0,
        ge=0,
        le=1000,
        description="Number of best pictures that are ordered by k-reciprocal re-ranking in the last step.",
    )
    thorough: bool = Field(False, description="Whether the slower and better search sets the five fields above.")
    count: int = Field(20, ge=1, le=100, description="Largest number of hits.")
    first: int = Field(0, ge=0, le=10_000_000, description="Number of best hits that are skipped.")


class HitInfo(Message):
    """A `HitInfo` is a picture of a result."""

    path: str = Field(description="Path of the picture in the index.")
    content: str = Field(description="sha256 of the file.")
    score: float = Field(
        description="Cosine, -1 to 1; for pictures in the order of k-reciprocal re-ranking, its score, 0 to 1."
    )
    width: int = Field(description="Width of the upright picture, pixels.")
    height: int = Field(description="Height of the upright picture, pixels.")
    box: tuple[int, int, int, int] | None = Field(description="Best region, x1 y1 x2 y2 in pixels, if re-ranked.")
    cells: tuple[int, int, int, int] | None = Field(description="Best region in cells, for an explanation.")


class SearchResponse(Message):
    """A `SearchResponse` is one page of a result."""

    pictures: int = Field(description="Number of pictures in the index.")
    hits: list[HitInfo] = Field(description="Hits, best first.")
    seconds: float = Field(description="Duration of the search, seconds.")


class ExplainRequest(SearchRequest):
    """An `ExplainRequest` names a hit, in addition to the fields of the search that returned the hit."""

    hit: str = Field(max_length=4096, description="Path of the hit.")
    cells: tuple[int, int, int, int] | None = Field(None, description="Cells of the hit.")


class ClassPairInfo(Message):
    """A `ClassPairInfo` is the share that a class of the query and a class of the picture add to the score."""

    query: str
    picture: str
    share: float


class ExplanationResponse(Message):
    """An `ExplanationResponse` explains a score.

    The shares of the pairs and the rest sum to the score. The cells and the constant sum to the score, too.
    """

    score: float = Field(
        description="Score of the region or picture before query expansion and k-reciprocal re-ranking."
    )
    pairs: list[ClassPairInfo] = Field(description="Class pairs with the largest shares, largest first.")
    rest: float = Field(description="Sum of the shares of all other pairs.")
    cells: list[list[float]] = Field(
        description="Share of each cell; rows from top to bottom; the cells cover the picture evenly."
    )
    constant: float = Field(description="Part of the score that belongs to no cell.")


class Problem(BaseModel):
    """A `Problem` says why a request was refused."""

    detail: str = Field(description="The reason, and what to do.")
