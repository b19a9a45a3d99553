"""``python -m san.reproduce``: compute the tables and figures of the paper beside the printed ones."""

from san.cli.launch import command

__all__ = ["main"]

main = command("reproduce", resume="resume by the same command")

if __name__ == "__main__":
    main()
