"""What PostHog's page script asks for beside events: its settings, and its users' feature flags.

In: a request of the page script, or of a library. Out: a document by which the script compresses
what it sends, and does what needs nothing but events. Never: a flag, a recording, a survey; a look
at a key, which the document only gives back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

CONFIG_PATH = "/array/{token}/config"
CONFIG_SCRIPT_PATH = "/array/{token}/config.js"
# Where the script asks for flags, and where its older versions ask for all of it.
FLAGS_PATHS = ("/flags", "/flags/", "/decide", "/decide/")
SCRIPT_MEDIA = "text/javascript"
# Of surveys it must not speak: told that there are none, the script asks for the script that shows
# them.
_CONFIG: Mapping[str, Any] = {
    "supportedCompression": ["gzip", "gzip-js"],
    "hasFeatureFlags": False,
    "sessionRecording": False,
    "heatmaps": False,
    "captureDeadClicks": False,
    "capturePerformance": False,
    "autocaptureExceptions": False,
    "isAuthenticated": False,
    "siteApps": [],
    "toolbarParams": {},
}
_FLAGS: Mapping[str, Any] = {
    **_CONFIG,
    "flags": {},
    "featureFlags": {},
    "featureFlagPayloads": {},
    "errorsWhileComputingFlags": False,
}
# Given to the script by its own name for it; siteApps are looked for beside the settings.
_SCRIPT = """\
window._POSTHOG_REMOTE_CONFIG = window._POSTHOG_REMOTE_CONFIG || {};
window._POSTHOG_REMOTE_CONFIG[%s] = {config: %s, siteApps: []};
"""


def routes() -> list[BaseRoute]:
    """Return the routes."""
    return [
        Route(CONFIG_SCRIPT_PATH, _give_script, methods=["GET"]),
        Route(CONFIG_PATH, _tell_config, methods=["GET"]),
        *(Route(path, _tell_flags, methods=["POST"]) for path in FLAGS_PATHS),
    ]


async def _tell_config(request: Request) -> Response:
    return JSONResponse(_config_for(request))


async def _give_script(request: Request) -> Response:
    token = json.dumps(request.path_params["token"])
    script = _SCRIPT % (token, json.dumps(_config_for(request)))
    return Response(script, media_type=SCRIPT_MEDIA)


async def _tell_flags(_: Request) -> Response:
    return JSONResponse(dict(_FLAGS))


def _config_for(request: Request) -> dict[str, Any]:
    return {"token": request.path_params["token"], **_CONFIG}
