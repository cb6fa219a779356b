"""Waiting: the machine that decides, one wait, many waits, and the one loop that drives them."""
