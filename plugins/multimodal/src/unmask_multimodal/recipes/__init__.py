"""Recipes: a method, its data and a schedule, by name."""
