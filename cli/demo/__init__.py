"""`track demo`: a realistic day, sent, and every number compared with what the log implies."""
