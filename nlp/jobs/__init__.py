"""Programs to submit to the cluster with `ray job submit`: heads trained from given data."""
