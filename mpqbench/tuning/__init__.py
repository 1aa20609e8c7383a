"""Training after quantization: distillation against the full-precision model, without data."""
