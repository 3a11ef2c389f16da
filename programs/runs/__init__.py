"""A run: its configuration, its directory, what it writes."""
