"""This module defines the web application: the HTTP API and the page."""

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
    401: {"model": messages.Problem, "description": "The token is missing or wrong."},
    404: {
        "model": messages.Problem,
        "description": "The picture is not in the index, or the upload is no longer stored.",
    },
    422: {"model": messages.Problem, "description": "A field is wrong; the message names the field and the reason."},
}

UPLOAD_REFUSALS: dict[int | str, dict[str, Any]] = {
    401: REFUSALS[401],
    413: {"model": messages.Problem, "description": "The picture has too many bytes or pixels."},
    415: {"model": messages.Problem, "description": "The content is no picture."},
    422: {"model": messages.Problem, "description": "The picture is damaged."},
}

UPLOAD_BODY = {
    "requestBody": {"required": True, "content": {"image/*": {"schema": {"type": "string", "format": "binary"}}}}
}


def create_app(
    index: Index, *, token: str | None = None, hosts: tuple[str, ...] = ("*",), searcher: Searcher | None = None
) -> FastAPI:
    """Creates the ASGI application for an index.

    Args:
        index: the index, which must not be empty.
        token: token that every request must contain; None: no token.
        hosts: allowed host names in requests; ``*``: all.
        searcher: searcher of the index, see `Index.searcher`; None: a searcher in this process.
    """
    service = SearchService(index, searcher)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        del app
        warm_up = threading.Thread(target=service.warm_up)
        warm_up.start()
        yield
        await run_in_threadpool(warm_up.join)  # JAX crashes if the interpreter ends during a compilation

    app = FastAPI(title="cwcf", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan)
    app.include_router(_search_routes(service))
    app.include_router(_picture_routes(service, Thumbnails()))
    page = importlib.resources.files("cwcf_jax.web") / "page"
    app.mount("/", StaticFiles(directory=str(page), html=True))
    app.add_middleware(Protection, token=token)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))

    @app.exception_handler(RequestValidationError)
    async def validation_error(request: Request, error: RequestValidationError) -> JSONResponse:
        del request
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"] if part not in ("body", "query"))
        return JSONResponse({"detail": f"{field}: {first['msg']}" if field else first["msg"]}, 422)

    return app


def _search_routes(service: SearchService) -> APIRouter:
    """Returns the routes for the index, queries, searches and explanations."""
    router = APIRouter(prefix="/api")

    @router.get("/index", responses={401: REFUSALS[401]})
    def index() -> messages.IndexInfo:
        """Returns facts about the index."""
        return service.info()

    @router.post("/query", responses=REFUSALS)
    def query(request: messages.QueryRequest) -> messages.QueryInfo:
        """Returns the classes of a query, and a map of where they are in the picture."""
        return service.describe(request)

    @router.post("/search", responses=REFUSALS)
    def search(request: messages.SearchRequest) -> messages.SearchResponse:
        """Returns the pictures that are most similar to the query, best first."""
        start = time.monotonic()
        hits, pictures = service.search(request)
        infos = [_hit_info(hit) for hit in hits]
        return messages.SearchResponse(pictures=pictures, hits=infos, seconds=time.monotonic() - start)

    @router.post("/explain", responses=REFUSALS)
    def explain(request: messages.ExplainRequest) -> messages.ExplanationResponse:
        """Explains the score of a hit."""
        explanation = service.explain(request)
        return messages.ExplanationResponse(
            score=explanation.score,
            pairs=[messages.ClassPairInfo(**pair._asdict()) for pair in explanation.pairs],
            rest=explanation.rest,
            cells=explanation.cells.tolist(),
            constant=explanation.constant,
        )

    return router


def _hit_info(hit: Hit) -> messages.HitInfo:
    return messages.HitInfo(
        path=hit.entry.path,
        content=hit.entry.content,
        score=hit.score,
        width=hit.entry.width,
        height=hit.entry.height,
        box=hit.box,
        cells=hit.cells,
    )


def _picture_routes(service: SearchService, thumbnails: Thumbnails) -> APIRouter:
    """Returns the routes for uploads and for thumbnails of the index's pictures."""
    router = APIRouter(prefix="/api")

    @router.post("/uploads", status_code=201, openapi_extra=UPLOAD_BODY, responses=UPLOAD_REFUSALS)
    async def upload(request: Request) -> messages.UploadResponse:
        """Uploads a picture for queries. The body is the file. The server stores it in memory for some time."""
        body = await uploads.read_body(request)
        return await run_in_threadpool(service.upload, body)

    @router.get(
        "/pictures",
        response_class=Response,
        responses={200: {"content": {"image/jpeg": {}}}, 401: REFUSALS[401], 404: REFUSALS[404]},
    )
    def picture(path: Annotated[str, Query(max_length=4096)], side: Literal["320", "1280"] = "320") -> Response:
        """Returns a picture of the index as a JPEG, with a longer side of at most ``side`` pixels."""
        file, content = service.picture(path)
        try:
            jpeg = thumbnails.get(file, content, int(side))
        except ImageError as error:
            raise HTTPException(
                404, "the picture's file does not exist or is damaged; update the index with cwcf index"
            ) from error
        return Response(jpeg, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=3600"})

    return router
