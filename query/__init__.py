"""ClickHouse to HTTP: GET /metrics, GET /sessions and the page that shows them."""
