"""Models that come with the package: how they are found, and what there is to know of them."""
