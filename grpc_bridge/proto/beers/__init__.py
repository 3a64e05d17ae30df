"""Generated from the current contract."""
