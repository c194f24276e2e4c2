#!/usr/bin/env bash
# Makes a virtual environment of what a lock file lists, and of nothing else: install.sh FOLDER LOCK
set -euo pipefail
[ -x "$1/bin/pip" ] || python3 -m venv "$1"
"$1/bin/pip" install --quiet --require-hashes --only-binary :all: -r "$(dirname "$0")/build.txt"
# onedl-mmcv and onedl-mmsegmentation come as sources: built with what is above, mmcv without its compiled operators.
MMCV_WITH_OPS=0 "$1/bin/pip" install --quiet --require-hashes --no-build-isolation \
  --only-binary :all: --no-binary onedl-mmcv,onedl-mmsegmentation -r "$2"
