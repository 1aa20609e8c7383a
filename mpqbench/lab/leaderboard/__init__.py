"""Leaderboards: checked against their own files, and extended by contributors."""
