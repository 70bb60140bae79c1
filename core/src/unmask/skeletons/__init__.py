"""What `unmask new` writes, one folder per kind; files end in ``.template``, and ``__WORDS__`` are filled in."""
