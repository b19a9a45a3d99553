"""``python -m san.evaluate``: test a checkpoint, on its own data or on other data."""

from san.cli.launch import command

__all__ = ["main"]

main = command("evaluate")

if __name__ == "__main__":
    main()
