"""Operators of activations and reconstructions: in torch for any device, and compiled by numba for the CPU."""
