"""The last line of a page: which version of the program made it, and a digest of what it says."""

from hashlib import sha256

from runstate_abi.tools.rendering import markdown
from runstate_abi.tools.rendering.blocks import Document, Paragraph

DIGITS = 16  # not as many as a commit's


def signed(document: Document) -> Document:
    """Return a page with its signature. Pages with one digest say the same, in any format."""
    from importlib.metadata import version

    last = document.sections[-1]
    said = Paragraph(
        f"Made by runstate-abi {version('runstate-abi')}. Digest of all that this page says: "
        f"`{digest(document)}`."
    )
    signed_ = last._replace(blocks=(*last.blocks, said))
    return document._replace(sections=(*document.sections[:-1], signed_))


def digest(document: Document) -> str:
    """Return the first digits of the SHA-256 of a page as Markdown."""
    # A figure that Markdown leaves out is a line without text.
    text = "\n".join(line for line in markdown.lines(document) if line)
    return sha256(text.encode()).hexdigest()[:DIGITS]
