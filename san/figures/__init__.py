"""The figures of a run, one a file: each has one function, ``draw``, that takes a :class:`san.figures.style.Run`."""
