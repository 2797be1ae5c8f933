"""What Segment's page script asks for beside events: its settings, and a place for its own metrics.

In: a request of the page script. Out: a document that sends its events here; 200 to its metrics,
which are dropped. Never: a look at a key, which the document only gives back.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

SETTINGS_PATH = "/v1/projects/{write_key}/settings"
METRICS_PATH = "/v1/m"


def routes() -> list[BaseRoute]:
    """Return the routes."""
    return [
        Route(SETTINGS_PATH, _tell_settings, methods=["GET"]),
        Route(METRICS_PATH, _drop_metrics, methods=["POST"]),
    ]


async def _tell_settings(request: Request) -> Response:
    settings = {
        "apiKey": request.path_params["write_key"],
        "apiHost": f"{request.headers.get('host', '')}/v1",
        "protocol": _scheme_of(request),
    }
    return JSONResponse({"integrations": {"Segment.io": settings}, "plan": {}})


async def _drop_metrics(_: Request) -> Response:
    return JSONResponse({"success": True})


def _scheme_of(request: Request) -> str:
    """Return the scheme that the page script knows us by: a proxy says whether it has TLS.

    Anybody may say so; who does is told what it said, and nobody else is.
    """
    told = request.headers.get("x-forwarded-proto", "").lower().replace(" ", "").split(",")
    return "https" if "https" in told else request.url.scheme
