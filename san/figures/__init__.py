"""Figures, one per file. The figures of a run are functions ``draw`` of a :class:`san.figures.style.Run`."""
