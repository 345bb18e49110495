"""Labels, and how they find their samples."""
