"""Models: their specs, an adapter per library, wrappers, and how they compute."""
