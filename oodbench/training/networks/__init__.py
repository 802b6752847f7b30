"""Networks: features and a head, normalisation inside."""
