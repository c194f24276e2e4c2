"""Run a command with the variables: ``python -m segtransfer_variables COMMAND ...``."""

import os
import sys

from . import hand_over

hand_over()
os.execvp(sys.argv[1], sys.argv[1:])
