"""``python -m san.encode``: describe recordings by the kernels of a trained model."""

from san.cli.launch import command
from san.cli.program import program_of

__all__ = ["main", "program"]

main = command("encode")
program = program_of(main)

if __name__ == "__main__":
    program()
