"""Pictures of input, mask and prediction."""
