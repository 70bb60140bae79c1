"""One vector per sample or token, from an encoder or from the raw input."""
