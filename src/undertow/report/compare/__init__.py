"""Finished runs of one audit side by side."""
