"""segtransfer on the head of a cluster: ``ray submit CLUSTER.yaml infra/submit.py -- run SPEC``.

``ray submit`` copies this one file to the head's home folder and runs it from there; the package is
the one that is installed on the nodes.
"""

import os
import sys


def run() -> None:
    """Run the command ``segtransfer`` with these arguments on the cluster of this node."""
    # A segtransfer.py in the home folder must not hide the package here: the command refuses it.
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
