"""``python -m san.evaluate``: test a checkpoint, on its own data or on other data."""

from san.cli.calls import function_of
from san.cli.launch import command

__all__ = ["evaluate", "main"]

main = command("evaluate")
evaluate = function_of("evaluate")

if __name__ == "__main__":
    main()
