"""Agreement with the numbers recorded from the authors' own programs."""
