"""Gymnasium's humanoid on MJX, drawn by the ray caster: eight poses to learn from eight sentences."""
