"""One file per step, applied in the order of the number before the first underscore."""
