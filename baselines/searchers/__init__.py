"""Baseline searchers, one file each."""
