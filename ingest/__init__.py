"""HTTP to Kafka: POST /track."""
