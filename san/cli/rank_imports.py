"""The libraries of every rank of a training; the process from which ranks are copied imports them once for all.

A handler of the root logger comes first, as in a command: without one, Lightning writes to the console itself.
"""

import logging

from san.cli.imports import collection_paused

logging.getLogger().addHandler(logging.NullHandler())

with collection_paused():
    import san.cli.build  # noqa: F401
