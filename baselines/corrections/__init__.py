"""Corrections of what a quantized model predicts, in the sampler."""
