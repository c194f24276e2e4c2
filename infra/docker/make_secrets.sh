#!/usr/bin/env bash
# Makes infra/secrets/, which git ignores: one file a secret, readable by you alone. Those that are there stay.
set -euo pipefail
cd "$(dirname "$0")/.."
umask 077
mkdir -p secrets

make() { [ -s "secrets/$1" ] || printf '%s' "$2" > "secrets/$1"; }
random() { python3 -c 'import secrets; print(secrets.token_hex(32), end="")'; }

make ray_token "$(random)"
make postgres_password "$(random)"
make mlflow_flask_key "$(random)"
make mlflow_admin_password "$(random)"
# What MLflow's client reads from ~/.mlflow/credentials.
make mlflow_credentials "[mlflow]
mlflow_tracking_username = admin
mlflow_tracking_password = $(cat secrets/mlflow_admin_password)
"
