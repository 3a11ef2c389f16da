"""Measurements of the real program: one question a file, a table and JSON."""
