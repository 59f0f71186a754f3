"""Convolutions and their gradients: one algorithm a file, chosen by the table in ``algorithms``."""
