"""Methods: paper defaults for the parts of `unmask.MaskedModel`, one file each."""
