"""The graph of a Launchpad program, live."""
