"""Studies: many jobs and what is concluded from them together."""
