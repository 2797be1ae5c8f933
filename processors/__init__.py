"""Kafka to Kafka to ClickHouse: the sessionizer and the writer."""
