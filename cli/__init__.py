"""The one command line, `track`."""
