"""The loss under fixed masks, comparable between runs."""
