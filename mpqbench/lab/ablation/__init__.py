"""Ablations: what each component of a method is worth, by factorial designs and sweeps."""
