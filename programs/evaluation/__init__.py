"""Test scoring: episodes, evaluators, results."""
