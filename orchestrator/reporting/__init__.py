"""Reporting: terminal tables, heat maps, panels, pages, and the folders of their files."""
