"""Tables, figures and one self-contained page, made from the artefacts of a run and nothing else."""
