"""LDDU: its settings, its model, its history of scores and its row in the table of systems."""
