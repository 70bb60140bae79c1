"""Timeseries samples for unmask."""
