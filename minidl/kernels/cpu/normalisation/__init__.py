"""Normalisation in one pass over memory for each read that the arithmetic needs."""
