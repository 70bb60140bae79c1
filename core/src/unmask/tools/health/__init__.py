"""Measures of collapse, and what they say."""
