"""Run the command as ``python -m segtransfer``."""

from segtransfer.cli import main

if __name__ == "__main__":
    main()
