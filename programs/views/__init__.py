"""Views of a run: terminal, dashboard, report, drawings of its graph."""
