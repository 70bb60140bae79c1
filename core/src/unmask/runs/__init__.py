"""The run folder: what a run writes, how it is found, resumed and read back."""
