"""The argument parser of every verb: argparse, without what makes it slow to start."""

import argparse
import os


def parser(verb: str, description: str, epilog: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of ``runstate VERB``; description and epilog keep their line breaks."""
    return argparse.ArgumentParser(
        prog=f"runstate {verb}",
        description=description,
        epilog=epilog,
        formatter_class=_formatter,
    )


# argparse asks for a formatter at every add_argument(), and a formatter that is not told its width
# imports shutil, with three compression libraries behind it, to find it out.
def _formatter(prog: str) -> argparse.HelpFormatter:
    return argparse.RawDescriptionHelpFormatter(prog, width=_width())


def _width() -> int:
    try:
        return int(os.environ["COLUMNS"]) - 2
    except (KeyError, ValueError):
        pass
    try:
        return os.get_terminal_size().columns - 2
    except OSError:
        return 78
