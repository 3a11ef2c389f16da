"""What a node's process runs."""
