"""Real servers on one machine, without Docker and with nothing installed by hand."""
