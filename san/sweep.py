"""``python -m san.sweep``: train all kernel sizes at once, each model as if alone."""

from san.cli.launch import command

__all__ = ["main"]

main = command("sweep", resume="resume by checkpoint={folder}")

if __name__ == "__main__":
    main()
