"""One module a command, each with `run(cfg, run_dir)`."""
