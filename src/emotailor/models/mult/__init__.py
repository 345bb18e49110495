"""MulT: its settings, its model and its row in the table of systems."""
