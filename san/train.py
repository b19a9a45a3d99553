"""``python -m san.train``: learn kernels from a dataset and select the epoch by φ."""

from san.cli.launch import command

__all__ = ["main"]

main = command("train", resume="resume by checkpoint={folder}")

if __name__ == "__main__":
    main()
