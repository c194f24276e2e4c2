"""Pages of the reference that are made from code: a module per page, with a function NAME_page."""
