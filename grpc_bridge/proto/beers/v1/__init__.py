"""Generated from beers.v1."""
