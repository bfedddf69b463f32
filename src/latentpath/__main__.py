"""`python -m latentpath` is the console script."""

from latentpath.cli import main

main()
