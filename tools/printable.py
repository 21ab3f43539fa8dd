"""Text that stays one line: a file's name, or one in an archive, may have anything in it."""


def one_line(text: str) -> str:
    """Return a text without what would end a line or move a terminal's cursor."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
