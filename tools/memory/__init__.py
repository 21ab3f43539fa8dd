"""Guest memory: where its bytes come from, and what those of a runstate area mean."""
