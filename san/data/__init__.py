"""The datasets, one a file: each has one function, ``load``, that returns :class:`san.data.splits.Splits`."""
