"""mpqbench: the open benchmark suite for mixed-precision quantization of Diffusion Transformers."""

__version__ = "0.1.0"
