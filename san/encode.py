"""``python -m san.encode``: describe recordings by the kernels of a trained model."""

from san.cli.launch import command

__all__ = ["main"]

main = command("encode")

if __name__ == "__main__":
    main()
