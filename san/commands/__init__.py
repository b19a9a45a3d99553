"""The implementations of the commands, one a file."""
