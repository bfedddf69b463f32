"""Trains: LightningModules, their data, and how a fit starts, resumes and stops."""
