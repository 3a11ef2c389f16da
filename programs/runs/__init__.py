"""Configuration, directory and files of a run."""
