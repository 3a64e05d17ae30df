"""What a beer is and what may happen to it: pure functions on frozen values, no I/O, clock or randomness."""
