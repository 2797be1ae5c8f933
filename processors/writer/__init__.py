"""Accepted events, sessions and rejections into ClickHouse, exactly once."""
