"""Pages to mail about a run or a comparison."""
