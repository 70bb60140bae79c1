"""What a fine-tuned model says of new data, as a table."""
