"""The judge of generated images: the classifier, its networks and feature networks (inference only)."""
