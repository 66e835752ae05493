"""Environments as pure functions: dynamics, what to draw, and the sentences that describe them."""
