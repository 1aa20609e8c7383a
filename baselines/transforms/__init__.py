"""Baseline transforms, one file each."""
