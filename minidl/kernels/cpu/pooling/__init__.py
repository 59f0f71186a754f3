"""Pooling whole rows of channels at a time, backward as a gather."""
