"""Where images come from: one data module per kind of source, each in a module of its own."""
