"""Data sets: one function each, returning the named splits of one source."""
