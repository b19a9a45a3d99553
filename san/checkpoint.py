"""Checkpoints selected by φ: the callback that writes them, and how to find and read one."""

from san.storage.checkpoints import find, read
from san.training.callbacks.phi_checkpoint import PhiCheckpoint

__all__ = ["PhiCheckpoint", "find", "read"]
