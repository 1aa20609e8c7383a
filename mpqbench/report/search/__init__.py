"""Figures of a search, made from what a run leaves on disk."""
