"""BR, LP and CC: one linear problem per label, per set of labels, or per label in a chain."""
