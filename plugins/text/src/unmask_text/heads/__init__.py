"""Heads: answers over a vocabulary, or about tokens, at the asked places."""
