"""The datasets, one module each: a function ``load`` that returns :class:`san.data.splits.Splits`."""
