"""``python -m san.decode``: reconstruct recordings from their descriptions."""

from san.cli.launch import command

__all__ = ["main"]

main = command("decode")

if __name__ == "__main__":
    main()
