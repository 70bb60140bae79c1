"""A mask for unmask that hides a sector of a grid."""
