"""Float graph and calibration images -> typed graph: int8 Q/DQ or float16."""
