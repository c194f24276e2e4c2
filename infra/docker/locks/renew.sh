#!/usr/bin/env bash
# Writes the lock files anew, with uv: the versions of constraints.txt and the newest of all else, for Python 3.11 and later.
# Arguments say where torch without CUDA comes from; without any, from the index that uv knows.
set -euo pipefail
cd "$(dirname "$0")"
[ $# -gt 0 ] || set -- --torch-backend cpu

lock() {
  uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate --no-header "$@"
}
lock ../../../pyproject.toml extra.in -c ../../constraints.txt -o cuda.txt
lock ../../../pyproject.toml extra.in -c ../../constraints.txt -o cpu.txt "$@"
lock build.in -c cuda.txt -o build.txt
