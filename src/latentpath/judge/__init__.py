"""The judge of generated images: the classifier, its networks, and networks of features (inference only)."""
