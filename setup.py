"""Builds the kernels of a processor; everything else about the package is in pyproject.toml."""

from setuptools import Extension, setup

kernels = Extension(
    "mpqbench.dit._kernels",
    ["mpqbench/dit/kernels.cpp"],
    # No product is contracted with a sum: the numbers are those of torch's operations.
    extra_compile_args=["-O3", "-ffp-contract=off", "-Wno-psabi"],
    optional=True,  # without a C++ compiler, torch's operations do the same more slowly
)
setup(ext_modules=[kernels])
