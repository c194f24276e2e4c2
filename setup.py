"""Build step: the script of Vega, Vega-Lite and Vega-Embed, which every report.html contains.

The library that bundles the script is larger than segtransfer, and only the build needs it.
"""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SCRIPT = Path(__file__).parent / "orchestrator/reporting/html/vega.js"
VEGA_LITE = "6.4"  # of the charts that Altair 6 writes
MARK = f"// Vega-Lite {VEGA_LITE}, as vl-convert bundles it\n"


class BuildWithScript(build_py):
    """Write the script beside the page's template before the package's files are collected."""

    def run(self) -> None:
        if not SCRIPT.is_file() or not SCRIPT.read_text(encoding="utf-8").startswith(MARK):
            import vl_convert

            bundle = vl_convert.javascript_bundle(
                "window.vegaEmbed = vegaEmbed;", vl_version=VEGA_LITE
            )
            SCRIPT.write_text(MARK + bundle, encoding="utf-8")
        super().run()


setup(cmdclass={"build_py": BuildWithScript})
