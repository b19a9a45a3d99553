"""``python -m san.decode``: reconstruct recordings from their descriptions."""

from san.cli.launch import command
from san.cli.program import program_of

__all__ = ["main", "program"]

main = command("decode")
program = program_of(main)

if __name__ == "__main__":
    program()
