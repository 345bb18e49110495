"""What commands do that stand for themselves."""
