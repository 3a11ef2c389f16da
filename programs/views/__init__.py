"""What people look at: terminal, dashboard, report."""
