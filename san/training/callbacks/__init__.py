"""The Lightning callbacks, one a file."""
