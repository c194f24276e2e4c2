"""segtransfer on the head of a cluster: ``ray submit CLUSTER.yaml infra/submit.py -- run SPEC``.

``ray submit`` copies this one file to the head's home folder and runs it from there; the package is
the one that is installed on the nodes.
"""

import os
import sys


def run() -> None:
    """The command ``segtransfer`` with these arguments, on the cluster of this node."""
    # Folders of one's own in the home folder must not stand in for the installed packages.
    sys.path.pop(0)
    # Without an address a run would start a cluster of its own on the head.
    os.environ.setdefault("RAY_ADDRESS", "auto")
    try:
        from segtransfer.cli import main
    except ModuleNotFoundError as error:
        sys.exit(f"segtransfer is not installed on the head ({error}): see infra/README.md")
    main()


if __name__ == "__main__":
    run()
