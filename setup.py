"""Three parts of the package that the build makes.

The script of Vega, Vega-Lite and Vega-Embed, which every report.html contains: the library that
bundles it is larger than segtransfer, and only the build needs it. The README without links into
the repository, as an index of packages shows it. And the files for clusters, which
``segtransfer infra copy`` copies.
"""

import re
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
SCRIPT = ROOT / "orchestrator/reporting/html/vega.js"
INFRA = ROOT / "infra"  # absent in sources that a container or a job gets
VEGA_LITE = "6.4"  # of the charts that Altair 6 writes
MARK = f"// Vega-Lite {VEGA_LITE}, as vl-convert bundles it\n"


class BuildWithFiles(build_py):
    """Write the script beside the page's template, and the files for clusters into the build."""

    def run(self) -> None:
        """Make both sets of files, then build as setuptools does."""
        if not SCRIPT.is_file() or not SCRIPT.read_text(encoding="utf-8").startswith(MARK):
            import vl_convert

            bundle = vl_convert.javascript_bundle(
                "window.vegaEmbed = vegaEmbed;", vl_version=VEGA_LITE
            )
            SCRIPT.write_text(MARK + bundle, encoding="utf-8")
        super().run()
        if INFRA.is_dir() and not self.editable_mode:
            self._copy_infra(Path(self.build_lib, "segtransfer", "infra"))

    def _copy_infra(self, built: Path) -> None:
        """Copy the list of files and folders, and all that it names."""
        for name in ("copied.txt", *(INFRA / "copied.txt").read_text().split()):
            copy = shutil.copytree if (INFRA / name).is_dir() else shutil.copy
            built.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(built / name, ignore_errors=True)
            copy(INFRA / name, built / name)


def readme_of_index(text: str) -> str:
    """Return a README without pictures and links whose address is a path of the repository."""
    text = re.sub(r"!\[[^]]*\]\((?!https?:)[^)]*\)\n*", "", text)
    return re.sub(r"\[([^]]*)\]\((?!https?:)[^)]*\)", r"\1", text)


setup(
    cmdclass={"build_py": BuildWithFiles},
    long_description=readme_of_index((ROOT / "README.md").read_text(encoding="utf-8")),
    long_description_content_type="text/markdown",
)
