"""Files that are written whole, and checkpoints that are read without trusting their content."""
