"""Training methods: how a network gets its weights."""
