#!/usr/bin/env bash
# Runs mypy on segtransfer as it is installed, then on the scripts of infra: types.sh [SOURCE], the checkout by default. PYTHON names the interpreter.
# In the source tree mypy would take the folders orchestrator/, tasks/ and search_spaces/ for packages of these names.
set -euo pipefail
checkout=$(cd "$(dirname "$0")/../.." && pwd)
source=$(cd "${1:-$checkout}" && pwd)
python=${PYTHON:-python3}

scratch=$(mktemp -d /tmp/st-types-XXXXXX)
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/source"
(cd "$source" && cp -r pyproject.toml setup.py README.md LICENSE NOTICE orchestrator search_spaces tasks "$scratch/source")
"$python" -m pip install --quiet --no-deps --no-build-isolation --target "$scratch/built" "$scratch/source"
cd "$scratch/built"
MYPYPATH=$scratch/built "$python" -m mypy --config-file "$source/pyproject.toml" \
  --cache-dir "$checkout/.mypy_cache" -p segtransfer
MYPYPATH=$scratch/built "$python" -m mypy --config-file "$source/pyproject.toml" \
  --cache-dir "$checkout/.mypy_cache" "$source"/infra/*/*.py
