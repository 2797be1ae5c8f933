"""What crosses a service boundary: events, sessions, topics, rows. Pure: no IO, no clock."""
