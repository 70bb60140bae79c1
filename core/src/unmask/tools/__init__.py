"""What is done with a trained model: features, probes, scores, fine-tuning, pictures, exports, reports."""
