"""`track repair`: tables, rollups and offsets brought back to what the topics say."""
