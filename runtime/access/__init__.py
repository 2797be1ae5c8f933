"""Who may come in, and how often: keys, rate limits, and the guard that asks for both."""
