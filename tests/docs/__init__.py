"""Tests of docs/: the pages made from code, and the site."""
