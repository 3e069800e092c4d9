"""Typed ONNX to engine: targets, the choice between candidates, the bundle and its report."""
