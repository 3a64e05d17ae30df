"""Generated from pb, the contract of the original."""
