"""The HTTP API and the page."""

import contextlib
import importlib.resources
import threading
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.concurrency import run_in_threadpool
from starlette.middleware.trustedhost import TrustedHostMiddleware

from cwcf_jax.images import ImageError
from cwcf_jax.index import Hit, Index, Searcher
from cwcf_jax.version import __version__
from cwcf_jax.web import messages, uploads
from cwcf_jax.web.protection import Protection
from cwcf_jax.web.search_service import SearchService
from cwcf_jax.web.thumbnails import Thumbnails

REFUSALS: dict[int | str, dict[str, Any]] = {
    401: {"model": messages.Problem, "description": "A token is needed."},
    404: {"model": messages.Problem, "description": "No such picture, or the upload is no longer kept."},
    422: {"model": messages.Problem, "description": "A field is wrong; the message says which and why."},
}

UPLOAD_REFUSALS: dict[int | str, dict[str, Any]] = {
    401: REFUSALS[401],
    413: {"model": messages.Problem, "description": "Too many bytes or pixels."},
    415: {"model": messages.Problem, "description": "No picture, by its content."},
    422: {"model": messages.Problem, "description": "A damaged picture."},
}

BODY = {"requestBody": {"required": True, "content": {"image/*": {"schema": {"type": "string", "format": "binary"}}}}}


def create_app(
    index: Index, *, token: str | None = None, hosts: tuple[str, ...] = ("*",), searcher: Searcher | None = None
) -> FastAPI:
    """An ASGI application that answers for an index.

    Args:
        index: an index that is filled, see `index.Index`.
        token: that every request must know; None: none.
        hosts: names by which browsers may call it; ``*``: any.
        searcher: of the index, see `Index.searcher`; None: in this process.
    """
    searching = SearchService(index, searcher)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        del app
        warming = threading.Thread(target=searching.warm_up)
        warming.start()
        yield
        await run_in_threadpool(warming.join)  # JAX does not survive an interpreter that ends while it compiles

    app = FastAPI(title="cwcf", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan)
    app.include_router(_searches(searching))
    app.include_router(_pictures(searching, Thumbnails()))
    page = importlib.resources.files("cwcf_jax.web") / "page"
    app.mount("/", StaticFiles(directory=str(page), html=True))
    app.add_middleware(Protection, token=token)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))

    @app.exception_handler(RequestValidationError)
    async def in_words(request: Request, error: RequestValidationError) -> JSONResponse:
        del request
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if part not in ("body", "query"))
        return JSONResponse({"detail": f"{place}: {first['msg']}" if place else first["msg"]}, 422)

    return app


def _searches(searching: SearchService) -> APIRouter:
    """The index, searches and why their hits scored as they did."""
    router = APIRouter(prefix="/api")

    @router.get("/index", responses={401: REFUSALS[401]})
    def index() -> messages.IndexInfo:
        """The index that is served."""
        return searching.info()

    @router.post("/query", responses=REFUSALS)
    def query(asked: messages.QueryRequest) -> messages.QueryInfo:
        """How a query is seen: its classes, and where they are."""
        return searching.describe(asked)

    @router.post("/search", responses=REFUSALS)
    def search(asked: messages.SearchRequest) -> messages.SearchResponse:
        """The pictures that are most like the query, best first."""
        before = time.monotonic()
        hits, pictures = searching.search(asked)
        found = [_found_picture(hit) for hit in hits]
        return messages.SearchResponse(pictures=pictures, hits=found, seconds=time.monotonic() - before)

    @router.post("/explain", responses=REFUSALS)
    def explain(asked: messages.ExplainRequest) -> messages.ExplanationResponse:
        """Why a hit scored as it did."""
        found = searching.explain(asked)
        return messages.ExplanationResponse(
            score=found.score,
            pairs=[messages.ClassPairInfo(**pair._asdict()) for pair in found.pairs],
            rest=found.rest,
            cells=found.cells.tolist(),
            constant=found.constant,
        )

    return router


def _found_picture(hit: Hit) -> messages.HitInfo:
    return messages.HitInfo(
        path=hit.entry.path,
        content=hit.entry.content,
        score=hit.score,
        width=hit.entry.width,
        height=hit.entry.height,
        box=hit.box,
        cells=hit.cells,
    )


def _pictures(searching: SearchService, thumbnails: Thumbnails) -> APIRouter:
    """Pictures in both directions: uploads of clients, and thumbnails of the index."""
    router = APIRouter(prefix="/api")

    @router.post("/uploads", status_code=201, openapi_extra=BODY, responses=UPLOAD_REFUSALS)
    async def upload(request: Request) -> messages.UploadResponse:
        """Takes a picture to ask with: the body is the file. It stays in memory for a while."""
        body = await uploads.read_body(request)
        return await run_in_threadpool(searching.upload, body)

    @router.get(
        "/pictures",
        response_class=Response,
        responses={200: {"content": {"image/jpeg": {}}}, 401: REFUSALS[401], 404: REFUSALS[404]},
    )
    def picture(path: Annotated[str, Query(max_length=4096)], side: Literal["320", "1280"] = "320") -> Response:
        """A picture of the index as JPEG; ``side``: its longer side at most, pixels."""
        file, content = searching.picture(path)
        try:
            jpeg = thumbnails.get(file, content, int(side))
        except ImageError as error:
            raise HTTPException(404, "the picture's file is gone or damaged; bring the index up to date") from error
        return Response(jpeg, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=3600"})

    return router
