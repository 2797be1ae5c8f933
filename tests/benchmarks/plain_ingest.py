"""What the benchmark compares ingest with: a plain Starlette service, written as tutorials do.

    KAFKA=host:port TOPIC=name uvicorn tests.benchmarks.plain_ingest:app

In: POST /track with a JSON body. Out: the same answer after the same acknowledgement (acks=all,
idempotent), one `send_and_wait` a request.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaProducer
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


@asynccontextmanager
async def _running(app: Starlette) -> AsyncIterator[None]:
    app.state.producer = AIOKafkaProducer(
        bootstrap_servers=os.environ["KAFKA"], acks="all", enable_idempotence=True
    )
    await app.state.producer.start()
    yield
    await app.state.producer.stop()


async def _track(request: Request) -> JSONResponse:
    event = await request.json()
    if not isinstance(event.get("event"), str) or not isinstance(event.get("user_id"), str):
        message = "event and user_id must be strings"
        return JSONResponse({"status": "error", "message": message}, status_code=400)
    await request.app.state.producer.send_and_wait(
        os.environ["TOPIC"], await request.body(), key=event["user_id"].encode()
    )
    return JSONResponse({"status": "success", "message": "Event logged."})


app = Starlette(routes=[Route("/track", _track, methods=["POST"])], lifespan=_running)
