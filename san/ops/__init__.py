"""The operators behind activations and reconstructions, one backend a file."""
