"""The console that tables are printed on."""

from typing import Any

from rich.console import Console
from rich.text import Text

__all__ = ["console"]

PLAIN_SYMBOLS = {"φ̄": "phi", "φ": "phi", "CR⁻¹": "1/CR", "L̃": "L", "±": "+/-"}


def console() -> Console:
    """Return a console that prints the plain spelling of symbols that standard output cannot encode."""
    return _PlainConsole()


class _PlainConsole(Console):
    """Spell the symbols that the stream cannot encode, before the widths of columns are measured."""

    def render_str(self, text: str, **options: Any) -> Text:
        try:
            text.encode(self.encoding)
        except UnicodeEncodeError:
            for symbol, plain in PLAIN_SYMBOLS.items():
                text = text.replace(symbol, plain)
        return super().render_str(text, **options)
