"""``python -m san.train``: learn kernels from a dataset and select the epoch by φ."""

from san.cli.calls import function_of
from san.cli.launch import command
from san.cli.program import program_of

__all__ = ["main", "program", "train"]

main = command("train", resume="resume by checkpoint={folder}")
train = function_of("train")
program = program_of(main)

if __name__ == "__main__":
    program()
