"""Topics, tables and rollups held against each other, for `track verify` and `track repair`."""
