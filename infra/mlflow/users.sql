-- MLflow keeps its users apart from its runs.
CREATE DATABASE mlflow_users OWNER mlflow;
