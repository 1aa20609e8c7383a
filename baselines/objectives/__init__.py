"""Baseline objectives, one file each."""
