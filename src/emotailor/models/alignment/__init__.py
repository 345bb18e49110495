"""CTC alignment: what stands before a system that needs word-aligned data."""
