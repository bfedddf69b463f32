"""Edits images by hand with the model of a finished run, in a browser on the same machine."""
