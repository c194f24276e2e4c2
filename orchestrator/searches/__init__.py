"""Searches: proposals of attack settings, their trials, and the confirmation of the best."""

from segtransfer.searches.search import SearchListener, SearchResult, run_search

__all__ = ["SearchListener", "SearchResult", "run_search"]
