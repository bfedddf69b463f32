"""Moves through a finished run by hand: one edit at a time, in a browser on the same machine."""
