"""Augmentations, batched on the device: inputs (B, C, H, W) in [0, 1] in, the same shape out; randomness from
the generator given.

Not torchvision's transforms, which make one draw for a whole batch: docs/decisions/own-augmentations.md."""
