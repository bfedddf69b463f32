"""What surrounds a run and knows no diffusion: stages, files, ranks, stopping, sweeps, weights, tracking."""
