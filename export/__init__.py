"""PyTorch to portable ONNX, and the build command that drives the whole pipeline."""
