"""Counts BitOPs and bytes."""
