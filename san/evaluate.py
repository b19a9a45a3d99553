"""``python -m san.evaluate``: test a checkpoint, on its own data or on other data."""

from san.cli.calls import function_of
from san.cli.launch import command
from san.cli.program import program_of

__all__ = ["evaluate", "main", "program"]

main = command("evaluate")
evaluate = function_of("evaluate")
program = program_of(main)

if __name__ == "__main__":
    program()
