"""What can be configured: the typed schema, checks across its fields, and messages for misspelt overrides."""
