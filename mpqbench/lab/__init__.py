"""Many jobs, and what is concluded from them."""
