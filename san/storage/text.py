"""Text from files, made safe for a terminal."""

__all__ = ["printable"]


def printable(text: str) -> str:
    r"""Return a text without characters that change what a terminal shows around them.

    Control characters, such as the start of an escape sequence, and characters that reverse the direction of writing or
    have no width become the replacement character; spaces of other widths and tabs become plain spaces. Line breaks are
    kept.

    Args:
        text: Any text, such as a name from a file.

    Example:
        >>> print(printable("EC\x1b[31mG"))
        EC�[31mG
    """
    return "".join(map(_printable, text))


def _printable(character: str) -> str:
    if character.isprintable() or character == "\n":
        return character
    return " " if character.isspace() else "\N{REPLACEMENT CHARACTER}"
