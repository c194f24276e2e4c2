"""What actors compute: attacks, models, data, metrics; free of Ray, MLflow and the store."""
