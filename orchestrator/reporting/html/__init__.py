"""HTML pages; each is a single file that loads nothing else."""
