"""The computations of actors: attacks, models, data, metrics; free of Ray, MLflow and the store."""
