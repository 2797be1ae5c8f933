"""`track forget`: a user is forgotten, everywhere and for good."""
