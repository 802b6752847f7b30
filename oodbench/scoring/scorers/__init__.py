"""Post-hoc OOD scores, grouped by what they read."""
