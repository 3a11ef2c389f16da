"""Where the nodes of a Launchpad program run, and how they start and end."""
