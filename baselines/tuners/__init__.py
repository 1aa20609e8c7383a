"""Training after quantization."""
