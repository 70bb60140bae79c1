"""Contract tests that every component of a family must pass, first-party or not.

They need pytest, which the toolkit itself does not install.
"""
