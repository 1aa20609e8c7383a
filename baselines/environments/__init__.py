"""Baseline environments, one file each."""
