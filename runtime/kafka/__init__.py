"""How Kafka is entered, looked after and asked, besides sending and receiving."""
