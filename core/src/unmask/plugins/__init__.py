"""Installed components, found by their entry points, and whether they work with this core."""
