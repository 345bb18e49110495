"""The systems: one file per paper, behind one contract."""
