"""Infrastructure of runs, without diffusion: stages, files, ranks, stopping, sweeps, weights, trackers."""
