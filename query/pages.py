"""Pages for people: the dashboard at `/`, and the API to read and try at `/docs`.

In: the folder of Swagger UI's files. Out: routes. Never: data, so no key is needed to see a page
(it is where one is entered); a file that is not named here; anything fetched from another origin.
"""

from __future__ import annotations

from pathlib import Path

import anyio
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Route

DASHBOARD_PATH, API_PAGE_PATH = "/", "/docs"
_HERE = Path(__file__).parent
_DASHBOARD = _HERE / "dashboard" / "index.html"
_API_PAGE = _HERE / "api_page"
_OWN_FILES = ("start.js",)
_FETCHED_FILES = ("swagger-ui-bundle.js", "swagger-ui.css")


def page_routes(swagger_ui: Path | None) -> list[BaseRoute]:
    """Return the routes of the pages; without Swagger UI there is no `/docs`."""
    if swagger_ui is None:
        return [Route(DASHBOARD_PATH, _dashboard)]
    files = {
        "": _API_PAGE / "index.html",
        **{name: _API_PAGE / name for name in _OWN_FILES},
        **{name: swagger_ui / name for name in _FETCHED_FILES},
    }

    async def file(request: Request) -> Response:
        path = files.get(request.path_params.get("name", ""))
        if path is None or not await anyio.Path(path).is_file():
            raise HTTPException(404)
        return FileResponse(path, headers=_headers("'self'"))

    return [
        Route(DASHBOARD_PATH, _dashboard),
        Route(API_PAGE_PATH, file),
        Route(f"{API_PAGE_PATH}/{{name}}", file),
    ]


async def _dashboard(_: Request) -> Response:
    return FileResponse(_DASHBOARD, headers=_headers("'unsafe-inline'"))


def _headers(scripts: str) -> dict[str, str]:
    """Return the headers of a page: nothing of another origin may run or be fetched."""
    return {
        "Content-Security-Policy": (
            f"default-src 'none'; style-src 'self' 'unsafe-inline'; script-src {scripts}; "
            "connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
            "frame-ancestors 'none'"
        ),
        "Cache-Control": "no-cache",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }
