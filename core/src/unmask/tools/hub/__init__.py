"""The Hub of Hugging Face: runs as repositories, with a model card, and repositories as runs."""
