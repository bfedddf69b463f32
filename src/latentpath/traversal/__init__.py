"""The sweep: its plan, the tree that is walked once, the store, and curves through what it found."""
