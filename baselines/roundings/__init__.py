"""Baseline roundings, one file each."""
