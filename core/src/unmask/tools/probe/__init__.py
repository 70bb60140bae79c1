"""Probes: what kNN and a linear classifier find in frozen features."""
