"""Multichannel time series for unmask."""
