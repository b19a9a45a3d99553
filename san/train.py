"""``python -m san.train``: learn kernels from a dataset and select the epoch by φ."""

from san.cli.calls import function_of
from san.cli.launch import command

__all__ = ["main", "train"]

main = command("train", resume="resume by checkpoint={folder}")
train = function_of("train")

if __name__ == "__main__":
    main()
