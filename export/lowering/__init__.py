"""Target-specific forms of the portable graph; none of them changes a precision."""
