"""Evaluation: pictures of a step, frozen features, and probes on them."""
