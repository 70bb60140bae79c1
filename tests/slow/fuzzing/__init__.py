"""What `tests/slow/fuzz.py` is made of: kinds of input, how each is damaged, and what a case is judged by."""
