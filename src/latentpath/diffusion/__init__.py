"""Latent diffusion as plain functions: components, prompts, schedule, solver, guidance, objective."""
