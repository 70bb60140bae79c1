"""What all of core stands on: errors, whole files, argument checks, progress. Imports nothing else of core."""
