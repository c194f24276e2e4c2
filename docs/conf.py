"""Sphinx's configuration: `sphinx-build -W -n --keep-going -b html -c docs . build/site`.

The source folder is the repository, so a relative link works in the repository and on the site
alike, also between docs/ and pages beside the code. An entrance page (index.md) names its pages
in a Markdown list; the list is the table of contents of the site.
"""

import re
from importlib.metadata import version as version_of
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parent.parent

project = "segtransfer"
copyright = "the authors of segtransfer"
version = release = version_of("segtransfer")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
root_doc = "docs/index"
include_patterns = [
    "docs/**.md",
    "infra/README.md",
    "infra/*/README.md",
    "search_spaces/README.md",
    "tasks/studies/README.md",
    "tasks/data/camvid/README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
]
exclude_patterns = ["**/.*", "**/site-packages"]

html_theme = "furo"
html_title = f"segtransfer {release}"
html_static_path = ["site/static"]
html_css_files = ["contrast.css"]
html_extra_path = ["site/start"]  # index.html, which leads to docs/index.html
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": False}

myst_heading_anchors = 4
myst_links_external_new_tab = False
suppress_warnings = ["myst.header"]  # pages of the repository may begin below the first level
highlight_language = "text"

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
nitpicky = True

ENTRANCE = re.compile(r"docs/(\w[\w-]*/)?index")
LISTED = re.compile(r"^- \[[^\]]*\]\(([^)#:]+\.md)\)", re.MULTILINE)


def add_contents(app: Sphinx, docname: str, source: list[str]) -> None:
    """Append the table of contents to an entrance page: the pages that its lists link to first."""
    if ENTRANCE.fullmatch(docname):
        pages = "\n".join(LISTED.findall(source[0]))
        source[0] += f"\n```{{toctree}}\n:hidden:\n\n{pages}\n```\n"


def setup(app: Sphinx) -> None:
    """Connect the functions of this file to Sphinx's events."""
    app.connect("source-read", add_contents)
