"""Page of an experiment: a single HTML file with all results, which loads nothing else."""

from segtransfer.reporting.html.page import draw_page, write_page

__all__ = ["draw_page", "write_page"]
