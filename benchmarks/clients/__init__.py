"""One file for each client under measurement, all of one shape: see `worker.py`."""
