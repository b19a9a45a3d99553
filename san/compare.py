"""``python -m san.compare``: compare activations and baseline methods on the same split by the same φ."""

from san.cli.launch import command

__all__ = ["main"]

main = command("compare", resume="complete methods are kept by the same command with hydra.run.dir={folder}")

if __name__ == "__main__":
    main()
