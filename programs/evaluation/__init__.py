"""Evaluation: test episodes, evaluators, results."""
