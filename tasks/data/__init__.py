"""Data sets: where images and labels enter, and are checked once."""
