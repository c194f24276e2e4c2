"""Write the pages of docs/reference that are made from code: `python docs/generate.py`.

Each page comes from the function NAME_page of the module docs/pages/NAME.py. A test compares the
files with the functions' answers.
"""

from importlib import import_module
from pathlib import Path

REFERENCE = Path(__file__).resolve().parent / "reference"
PAGES = (
    "spec",
    "attacks",
    "transforms",
    "gradients",
    "loops",
    "losses",
    "defences",
    "metrics",
    "registries",
    "command",
    "exit-codes",
    "errors",
    "environment",
    "api",
    "extend",
)


def generated() -> dict[Path, str]:
    """Return the text of each generated page by its file."""
    pages = {}
    for name in PAGES:
        module = name.replace("-", "_")
        function = getattr(import_module(f"pages.{module}"), f"{module}_page")
        pages[REFERENCE / f"{name}.md"] = function()
    return pages


if __name__ == "__main__":
    for file, text in generated().items():
        file.write_text(text)
