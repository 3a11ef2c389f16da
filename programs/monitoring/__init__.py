"""The graph of a Launchpad program and the monitor that records it."""
