"""``python -m san.reproduce``: compute the tables and figures of the paper beside the printed ones."""

from san.cli.launch import command
from san.cli.program import program_of

__all__ = ["main", "program"]

main = command("reproduce", resume="resume by the same command")
program = program_of(main)

if __name__ == "__main__":
    program()
