"""The consumer groups of a pipeline, by its namespace: whose commits say how far each stage is.

In: a namespace. Out: names. Never: a connection.
"""

from __future__ import annotations


def sessionizer_group(namespace: str) -> str:
    """Return the group of the sessionizers: their place in `track.events`, for monitors alone."""
    return f"{namespace}.sessionizer"


def writer_group(namespace: str) -> str:
    """Return the group of the writers: what of the outputs lies in ClickHouse."""
    return f"{namespace}.writer"
