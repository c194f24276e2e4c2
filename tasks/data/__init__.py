"""Data sets: the entry of images and labels, with their only check."""
