"""How a process shows what it does, and how one that hangs is ended."""
