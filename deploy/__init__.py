"""How it is run: the local stack, ClickHouse's tables, containers."""
