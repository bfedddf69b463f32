"""The configuration: the typed schema, checks across its fields, and messages for misspelt overrides."""
