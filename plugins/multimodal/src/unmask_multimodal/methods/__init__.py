"""Methods over several modalities."""
