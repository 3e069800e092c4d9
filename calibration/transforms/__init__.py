"""Changes of the float graph that make it easier to quantise and leave its output unchanged."""
