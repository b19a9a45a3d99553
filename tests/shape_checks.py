"""The type checker of the modules whose arrays have shapes; pyproject.toml names it."""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int is a float, too
