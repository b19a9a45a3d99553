"""The libraries of every rank of a training; the process from which ranks are copied imports them once for all.

As in a command, the root logger has a handler meanwhile: without one, Lightning writes to the console itself.
"""

import logging

from san.cli.imports import collection_paused

_handler = logging.NullHandler()
logging.getLogger().addHandler(_handler)
try:
    with collection_paused():
        import san.cli.build  # noqa: F401
finally:
    logging.getLogger().removeHandler(_handler)
