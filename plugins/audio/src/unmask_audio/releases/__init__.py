"""Names of weights as their authors released them."""
