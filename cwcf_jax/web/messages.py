"""What the HTTP API takes and gives."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0, le=1)]


class Message(BaseModel):
    """A JSON object without unknown fields."""

    model_config = ConfigDict(extra="forbid")


class IndexInfo(Message):
    """The index that is served."""

    name: str = Field(description="Name of the folder of photographs.")
    pictures: int
    network: str
    whitening: str = Field(description="What it was fitted on; empty: none.")
    classes: list[str] = Field(description="Names of the network's classes, in order.")


class UploadResponse(Message):
    """A picture that can be asked with."""

    upload: str = Field(description="Its name from now on: sha256 of the file.")
    width: int = Field(description="Of the upright picture, pixels.")
    height: int


class QueryRequest(Message):
    """What is asked: a picture that was uploaded, or one of the index; one of the two."""

    upload: str | None = Field(None, max_length=64)
    path: str | None = Field(None, max_length=4096)
    box: tuple[float, float, float, float] | None = Field(
        None, description="x1 y1 x2 y2 in pixels of the upright picture; null: all of it."
    )
    classes: list[str] = Field([], max_length=64, description="Describe by these classes alone; names or indices.")


class QueryClass(Message):
    """A class of the query."""

    name: str
    probability: Fraction


class QueryInfo(Message):
    """How a query is seen."""

    width: int
    height: int
    classes: list[QueryClass] = Field(description="Most probable first.")
    heat: list[list[float]] = Field(
        description="Mean class activation map of the two most probable classes, or of those asked for; rows from the "
        "top, 0 to 1, spread evenly over the picture."
    )


class SearchRequest(QueryRequest):
    """A search."""

    aggregation: Literal["ofa", "ona"] = "ofa"
    rerank: int = Field(0, ge=0, le=1000, description="Look at the regions of the best so many.")
    expand: int = Field(0, ge=0, le=100, description="Add the best so many to the query and search again.")
    online: int = Field(0, ge=0, le=1000, description="Score the best so many of OfA anew under the query's classes.")
    reciprocal: int = Field(
        0, ge=0, le=1000, description="Rank the best so many last by the neighbours that they share with the query."
    )
    thorough: bool = Field(False, description="The slower and better search, which chooses the five fields above.")
    count: int = Field(20, ge=1, le=100)
    first: int = Field(0, ge=0, le=10_000_000, description="Of the best, how many are passed over.")


class HitInfo(Message):
    """A picture that was found."""

    path: str
    content: str = Field(description="sha256 of the file.")
    score: float = Field(
        description="Cosine, -1 to 1; of the best that were ranked by shared neighbours how many they share, 0 to 1."
    )
    width: int
    height: int
    box: tuple[int, int, int, int] | None = Field(description="Best region, x1 y1 x2 y2 in pixels, if re-ranked.")
    cells: tuple[int, int, int, int] | None = Field(description="The same in cells, for an explanation.")


class SearchResponse(Message):
    """One page of results."""

    pictures: int = Field(description="How many the index holds.")
    hits: list[HitInfo]
    seconds: float


class ExplainRequest(SearchRequest):
    """A hit of a search with the same fields."""

    hit: str = Field(max_length=4096, description="Its path.")
    cells: tuple[int, int, int, int] | None = None


class ClassPairInfo(Message):
    """What a class of the query and a class of the picture add to the score together."""

    query: str
    picture: str
    share: float


class ExplanationResponse(Message):
    """A score taken apart. The shares and the rest sum to it; so do the cells and the constant."""

    score: float = Field(description="Of the region or picture, before expansion and ranking by shared neighbours.")
    pairs: list[ClassPairInfo]
    rest: float
    cells: list[list[float]] = Field(description="What each cell adds; rows from the top, evenly over the picture.")
    constant: float


class Problem(BaseModel):
    """Why a request was refused."""

    detail: str
