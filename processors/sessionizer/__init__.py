"""Events to accepted events and completed sessions, one Kafka transaction a micro-batch."""
