#!/usr/bin/env bash
# Starts MLflow's server; secrets go from their files into its environment, never into arguments.
set -euo pipefail
PGPASSWORD=$(cat /run/secrets/postgres_password)
MLFLOW_AUTH_ADMIN_PASSWORD=$(cat /run/secrets/mlflow_admin_password)
MLFLOW_FLASK_SERVER_SECRET_KEY=$(cat /run/secrets/mlflow_flask_key)
export PGPASSWORD MLFLOW_AUTH_ADMIN_PASSWORD MLFLOW_FLASK_SERVER_SECRET_KEY
exec mlflow server --app-name basic-auth --host 0.0.0.0 --port 5000 --serve-artifacts
