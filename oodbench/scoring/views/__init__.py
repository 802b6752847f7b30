"""What extraction computes beside logits and features while the network is at hand."""
