"""Cross-origin requests: open to every origin, without credentials.

In: an ASGI application. Out: the same one, its answers readable from any page, and preflights
answered before they reach it. Never: an echo of what the client asked for.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

OPEN_TO_ALL = (
    (b"access-control-allow-origin", b"*"),
    (
        b"access-control-expose-headers",
        b"x-event-id, retry-after, ratelimit, ratelimit-policy, link, etag, complete-from, "
        b"track-as-of, track-lag",
    ),
)
_PREFLIGHT: Message = {
    "type": "http.response.start",
    "status": 204,
    "headers": [
        *OPEN_TO_ALL,
        (b"access-control-allow-methods", b"GET, HEAD, POST, OPTIONS"),
        (
            b"access-control-allow-headers",
            b"authorization, content-encoding, content-type, idempotency-key, if-none-match, "
            b"x-read-key, x-retry-count, x-write-key",
        ),
        (b"access-control-max-age", b"86400"),
    ],
}
_NOTHING: Message = {"type": "http.response.body", "body": b""}


class OpenToAllOrigins:
    """Middleware that opens the answers of an application to every origin."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a preflight, or let the request through and add the headers to its answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["method"] == "OPTIONS":
            await send(_PREFLIGHT)
            await send(_NOTHING)
            return

        async def send_opened(message: Message) -> None:
            if message["type"] == "http.response.start":
                # A copy: messages may be prepared ones that are sent again and again.
                message = {**message, "headers": [*message.get("headers", ()), *OPEN_TO_ALL]}
            await send(message)

        await self._app(scope, receive, send_opened)
