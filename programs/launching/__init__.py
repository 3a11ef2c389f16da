"""Launching of any Launchpad program, here or on Ray, and its restarts."""
