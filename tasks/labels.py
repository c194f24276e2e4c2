"""The index of pixels without a class, in every label of the package."""

IGNORE_INDEX = 255
