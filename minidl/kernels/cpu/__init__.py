"""Faster forms for NumPy arrays, compiled by Numba."""
