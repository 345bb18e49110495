"""What every site of ours has: the guard, one shape of errors, a login, and fixed files."""

import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from emotailor import __version__
from emotailor.errors import EmotailorError
from emotailor.service.access import COOKIE, Access
from emotailor.service.assets import LOGIN, Asset
from emotailor.service.bodies import read_body
from emotailor.service.errors import RequestError, error_json, headers_of, status_of
from emotailor.service.guard import Application, Guard

MOST_OF_A_LOGIN = 4096  # bytes
DAY = 86_400  # seconds


@dataclass(frozen=True)
class Site:
    """An application and what guards it.

    Attributes:
        api: the application, to which routes are added.
        guarded: the same behind its guard, for a server.
        access: who may ask.
    """

    api: FastAPI
    guarded: Guard
    access: Access


def new_site(
    title: str,
    access: Access,
    assets: Mapping[str, Asset],
    *,
    around: Callable[[Application], Application] = lambda app: app,
    **about: Any,
) -> Site:
    """Return a site without pages of its own.

    It answers ``/health``, ``/login`` and ``/static/NAME``; the routes of the caller come beside
    them. An ``EmotailorError`` of a route becomes an answer of ours.

    Args:
        title: of the site.
        access: who may ask.
        assets: name below ``/static/`` -> what it is.
        around: what stands between the guard and the application.
        about: what else FastAPI is to know of it.
    """
    # its pages of documentation load scripts from elsewhere
    api = FastAPI(title=title, version=__version__, docs_url=None, redoc_url=None, **about)
    _tell_errors(api)

    @api.get("/health", tags=["service"])
    async def health() -> dict[str, str]:
        """Whether the service answers. Needs no token."""
        return {"status": "ok"}

    @api.get("/static/{name}", include_in_schema=False)
    async def static(name: str) -> Response:
        asset = assets.get(name)
        if asset is None:
            raise not_there(f"no file {name[:200]!r}")
        return answer(asset)

    @api.get("/login", include_in_schema=False)
    async def login_page() -> Response:
        return answer(LOGIN)

    @api.post("/login", include_in_schema=False)
    async def login(request: Request) -> Response:
        body = await read_body(request, most=MOST_OF_A_LOGIN)
        given = parse_qs(body.decode("utf-8", "replace")).get("token", [""])[0]
        if access.token is not None and not access.is_token(given):
            raise RequestError(HTTPStatus.UNAUTHORIZED, "another token", fix="try again")

        answered = RedirectResponse("/", HTTPStatus.SEE_OTHER)
        answered.set_cookie(
            COOKIE, access.cookie(), max_age=30 * DAY, httponly=True, samesite="strict"
        )
        return answered

    return Site(api, Guard(around(api), access), access)


def answer(asset: Asset) -> Response:
    """Return the answer that is a file of the package."""
    return Response(asset.content, media_type=asset.media_type)


def not_there(found: str, fix: str | None = None) -> RequestError:
    """Return the error of something that is not there."""
    return RequestError(HTTPStatus.NOT_FOUND, found, fix=fix)


# ---------------------------------------------------------------------- errors


def _tell_errors(api: FastAPI) -> None:
    """Let every error be told in the same shape."""

    @api.exception_handler(EmotailorError)
    async def ours(_: Request, error: EmotailorError) -> Response:
        return told(error)

    @api.exception_handler(HTTPException)
    async def theirs(_: Request, error: HTTPException) -> Response:
        status = HTTPStatus(error.status_code)
        return told(RequestError(status, str(error.detail), headers=error.headers))

    @api.exception_handler(RequestValidationError)
    async def wrong(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return told(RequestError(HTTPStatus.UNPROCESSABLE_ENTITY, f"{place}: {first['msg']}"))

    @api.exception_handler(ClientDisconnect)
    async def gone(_: Request, __: ClientDisconnect) -> Response:
        # nobody gets it
        return told(RequestError(HTTPStatus.BAD_REQUEST, "the client has gone"))

    @api.exception_handler(Exception)
    async def bug(_: Request, error: Exception) -> Response:
        traceback.print_exception(error, file=sys.stderr)
        status = HTTPStatus.INTERNAL_SERVER_ERROR
        return told(RequestError(status, "a mistake of the service; its log says which"))


def told(error: EmotailorError) -> Response:
    """Return the answer that tells an error."""
    return JSONResponse(error_json(error), status_of(error), headers_of(error))
