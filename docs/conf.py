"""Sphinx's configuration: `sphinx-build -q -W -n --keep-going -b html -c docs . build/site`.

The source folder is the repository, so a relative link works in the repository and on the site
alike, also between docs/ and pages beside the code. An entrance page (index.md) names its pages
in a Markdown list; the list is the table of contents of the site.
"""

import re
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

from docutils import nodes
from pydantic import BaseModel
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import make_refnode

# Libraries whose documentation a build does not ask for: it works without a network.
FOREIGN = (
    "altair",
    "collections",
    "contextlib",
    "matplotlib",
    "numpy",
    "np",
    "optuna",
    "pandas",
    "pathlib",
    "pd",
    "pydantic",
    "pyarrow",
    "torch",
)
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
    "examples/*/README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
]
exclude_patterns = ["**/.*", "**/site-packages"]

html_theme = "furo"
html_title = f"segtransfer {release}"
html_static_path = ["site/static"]
html_css_files = ["reading.css"]
html_js_files = ["reading.js"]
html_extra_path = ["site/start"]  # index.html, which leads to docs/index.html
html_copy_source = False
html_show_sourcelink = False
html_show_search_summary = False  # browsers fetch no page for it from a folder
html_theme_options = {"navigation_with_keys": False}

myst_heading_anchors = 4
myst_links_external_new_tab = False
suppress_warnings = ["myst.header"]  # pages of the repository may begin below the first level
highlight_language = "text"
smartquotes = False  # of `--option` in running text, two hyphens stay two hyphens

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
nitpicky = True
toc_object_entries = False  # pages have a heading per name
nitpick_ignore_regex = [
    ("py:.*", rf"({'|'.join(FOREIGN)})(\..*)?"),
    ("py:.*", r"segtransfer\..+"),  # of no public name: those have an entry
    ("py:.*", r"\w+"),  # aliases, and imports for types only
]

# Names that the pages of specs and errors have.
ERRORS = set(
    re.findall(r"^\| `(\w+)` \| ", (ROOT / "docs/reference/errors.md").read_text(), re.MULTILINE)
)
SPECS = set(re.findall(r"^## (\w+)$", (ROOT / "docs/reference/spec.md").read_text(), re.MULTILINE))
ENTRANCE = re.compile(r"docs/(\w[\w-]*/)?index")
LISTED = re.compile(r"^- \[[^\]]*\]\(([^)#:]+\.md)\)", re.MULTILINE)


def add_contents(app: Sphinx, docname: str, source: list[str]) -> None:
    """Append the table of contents to an entrance page: the pages that its lists link to first."""
    if ENTRANCE.fullmatch(docname):
        pages = "\n".join(LISTED.findall(source[0]))
        source[0] += f"\n```{{toctree}}\n:hidden:\n\n{pages}\n```\n"


def unlink_others(app: Sphinx, page: nodes.document) -> None:
    """Replace links to folders and Markdown of the repository outside the site by their text."""
    folder = ROOT / Path(app.env.docname).parent
    for link in list(page.findall(pending_xref)):
        target = link["reftarget"]
        is_page = link.get("refdomain") == "doc"
        if link.get("reftype") == "myst" and (
            target not in app.env.found_docs if is_page else (folder / target).is_dir()
        ):
            link.replace_self(link.children)


def resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, text: nodes.TextElement
) -> nodes.Node | None:
    """Resolve a reference to a spec or to an error that no page of signatures has."""
    name = node["reftarget"].rpartition(".")[2]
    if name in SPECS:
        page, anchor = "docs/reference/spec", name.lower()
    elif name in ERRORS:
        page, anchor = "docs/reference/errors", ""
    else:
        return None
    return make_refnode(app.builder, node["refdoc"], page, anchor, text)


def prepare_docstring(
    app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]
) -> None:
    """Change a docstring in Google style, in place, for napoleon and reStructuredText.

    - The fields of a spec are left to docs/reference/spec.md.
    - An indented example is a block of code.
    - A sentence with a colon, below Returns or of a property, is no type.
    """
    if isinstance(thing, type) and thing.__name__ in SPECS and "Attributes:" in lines:
        del lines[lines.index("Attributes:") :]
        lines += ["The fields are on the page :doc:`/docs/reference/spec`.", ""]
    heads = [place for place, line in enumerate(lines) if re.fullmatch(r"[A-Z]\w+:", line)]
    for head in reversed(heads):
        sentence = lines[head + 1] if lines[head] in ("Returns:", "Yields:") else ""
        if " " in sentence.strip().partition(":")[0]:
            indent = len(sentence) - len(sentence.lstrip())
            lines.insert(head + 1, " " * indent + "\\ ")
    for place in reversed(range(1, heads[0] if heads else len(lines))):
        last = next((line for line in reversed(lines[:place]) if line), "")
        starts = lines[place].startswith("    ") and not lines[place - 1]
        if starts and not last.startswith((" ", "..")):
            lines[place:place] = [".. code-block:: python", ""]
    if what == "property" and lines:
        lines.insert(0, "\\ ")


def shorten_signature(
    app: Sphinx,
    what: str,
    name: str,
    thing: Any,
    options: Any,
    signature: str | None,
    returns: str | None,
) -> tuple[str | None, str | None]:
    """Leave out the signature of a spec: docs/reference/spec.md has its fields."""
    is_spec = isinstance(thing, type) and issubclass(thing, BaseModel)
    return ("" if is_spec else signature), returns


def setup(app: Sphinx) -> None:
    """Connect the functions of this file to Sphinx's events."""
    app.connect("source-read", add_contents)
    app.connect("doctree-read", unlink_others)
    app.connect("missing-reference", resolve)
    app.connect("autodoc-process-docstring", prepare_docstring, priority=400)  # napoleon has 500
    app.connect("autodoc-process-signature", shorten_signature)
