"""What a run will be, in figures, before anything is trained."""
