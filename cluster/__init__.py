"""Tasks to workers (Dask): opening a cluster, submitting, retrying, cancelling."""
