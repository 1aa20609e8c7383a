"""Baseline branches, one file each."""
