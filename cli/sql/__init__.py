"""`track sql`: questions in SQL, asked as the analyst of the local stack."""
