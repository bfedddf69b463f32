"""The judge of generated images: its network, its saved form, and what networks see (inference only)."""
