"""``python -m san.compare``: compare activations and baseline methods on the same split by the same φ."""

from san.cli.launch import command
from san.cli.program import program_of

__all__ = ["main", "program"]

main = command("compare", resume="complete methods are kept by the same command with hydra.run.dir={folder}")
program = program_of(main)

if __name__ == "__main__":
    program()
