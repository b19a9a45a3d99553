"""``python -m san.sweep``: train all kernel sizes at once, each model as if alone."""

from san.cli.calls import function_of
from san.cli.launch import command

__all__ = ["main", "sweep"]

main = command("sweep", resume="resume by checkpoint={folder}")
sweep = function_of("sweep")

if __name__ == "__main__":
    main()
