"""The sweep: its plan, the prefix tree, the engine that walks it, the store, and interpolations."""
