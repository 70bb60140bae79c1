"""Where samples of several modalities come from."""
