"""Values and settings that every other folder builds on."""
