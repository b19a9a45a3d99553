"""``python -m san.sweep``: train all kernel sizes at once, each model as if alone."""

from san.cli.calls import function_of
from san.cli.launch import command
from san.cli.program import program_of

__all__ = ["main", "program", "sweep"]

main = command("sweep", resume="resume by checkpoint={folder}")
sweep = function_of("sweep")
program = program_of(main)

if __name__ == "__main__":
    program()
