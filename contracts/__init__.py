"""What crosses a boundary between services: events, sessions, topics, rows. Pure: no IO, no clock."""
