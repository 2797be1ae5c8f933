"""How a process is set up: settings, Kafka, ClickHouse, logs. Knows nothing of sessions."""
