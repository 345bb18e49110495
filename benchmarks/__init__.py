"""Programs that measure speed and memory, beside the authors' program where a checkout is given."""
