#!/usr/bin/env bash
# Makes a node of a machine: system packages, the locked environment, the wheel. Doing it again changes nothing.
# Beside it lie locks/ and wheel/, put there by the launcher file.
set -euo pipefail
cd "$(dirname "$0")"

# OpenCV links libGL and glib; tmux keeps a run alive that was submitted with `ray submit --tmux`.
has_all() {
  python3 -c 'import ensurepip, venv' && command -v tmux > /dev/null &&
    # Not grep -q, which stops reading: ldconfig would end by SIGPIPE, which pipefail takes for a no.
    ldconfig -p | grep libGL.so.1 > /dev/null && ldconfig -p | grep libglib-2.0.so.0 > /dev/null
}
has_all || {
  sudo apt-get update -q
  sudo DEBIAN_FRONTEND=noninteractive apt-get install -qy python3-venv libgl1 libglib2.0-0 tmux
}

bash locks/install.sh venv locks/cuda.txt
venv/bin/pip install --quiet --no-deps --no-index --force-reinstall wheel/segtransfer-*.whl

# For Ray and all that it starts: the environment's commands, and the token from its file.
cat > env << 'ENV'
export PATH="$HOME/segtransfer/venv/bin:$PATH"
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$HOME/.ray/auth_token"
ENV
chmod 600 "$HOME/.ray/auth_token"
grep -qs segtransfer/env "$HOME/.bashrc" || echo '. ~/segtransfer/env' >> "$HOME/.bashrc"
