"""Neighbours of the 24 inputs that once went wrong: the same kind of input at another place."""
