"""Programs that a data scientist submits to the cluster with `ray job submit`: from log to model."""
