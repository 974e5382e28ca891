"""Captures that other tools made become sealed sweeps: readers of files, kinds of captures, and the job."""
