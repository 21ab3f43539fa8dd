"""Man pages and shell completion of every command: made when the package is built.

    python -m runstate_abi.tools.packaging.pages FOLDER

writes FOLDER/share as it is installed: man/man1, and what bash, zsh and fish complete.

All text is the parsers' own; plain.py lays it out for a man page. shtab and argparse-manpage are
needed for the build alone.
"""

import argparse
import re
import sys
from importlib import import_module
from pathlib import Path

from runstate_abi.tools import cli
from runstate_abi.tools.packaging import plain
from runstate_abi.tools.rendering import man

# Where each shell looks; shtab's name of the shell, and of the file.
SHELLS = {
    "bash": "bash-completion/completions/runstate",
    "zsh": "zsh/site-functions/_runstate",
    "fish": "fish/vendor_completions.d/runstate.fish",
}


# In the text that argparse-manpage makes: what plain.py lays out takes their place.
DESCRIPTION, EPILOG = "@description@", "@epilog@"


def parser_of(verb: cli.Verb) -> argparse.ArgumentParser:
    """Return the parser of a verb."""
    made: argparse.ArgumentParser = import_module(f"runstate_abi.tools.{verb.module}").parser()
    return made


def whole() -> argparse.ArgumentParser:
    """Return one parser with every verb as a subcommand."""
    parser = argparse.ArgumentParser("runstate", description="Verifier of the Xen runstate ABI.")
    parser.add_argument("-V", "--version", action="store_true", help="say which version this is")
    verbs = parser.add_subparsers(metavar="COMMAND")
    names = [verb.name for verb in cli.VERBS]
    verbs.add_parser("help", help="what a command does").add_argument("command", choices=names)
    for verb in cli.VERBS:
        own = parser_of(verb)
        verbs.add_parser(
            verb.name,
            help=verb.summary,
            description=own.description,
            parents=[own],
            add_help=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
    return parser


def write(folder: Path) -> list[Path]:
    """Write all pages and completions below ``folder``/share and return their paths."""
    share = folder / "share"
    pages = {f"man/man1/{name}.1": text for name, text in man_pages().items()}
    pages |= {SHELLS[shell]: text for shell, text in completions().items()}
    for name, text in pages.items():
        (share / name).parent.mkdir(parents=True, exist_ok=True)
        (share / name).write_text(text, encoding="utf-8")
    return [share / name for name in pages]


def completions() -> dict[str, str]:
    """Return the completion script of each shell."""
    import shtab

    parser = whole()
    return {shell: str(shtab.complete(parser, shell)) for shell in SHELLS}


def man_pages() -> dict[str, str]:
    """Return every man page: ``runstate``, ``runstate-check``, ..."""
    overview = argparse.ArgumentParser(
        "runstate",
        description=cli.usage(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="runstate COMMAND [ARGUMENT ...]",
        add_help=False,
    )
    pages = {"runstate": _page(overview, "verifier of the Xen runstate ABI")}
    for verb in cli.VERBS:
        pages[f"runstate-{verb.name}"] = _page(parser_of(verb), verb.summary)
    return pages


def _page(parser: argparse.ArgumentParser, summary: str) -> str:
    from argparse_manpage.manpage import Manpage

    day = man.date()
    texts = {DESCRIPTION: parser.description, EPILOG: parser.epilog}
    parser.description, parser.epilog = (text and name for name, text in texts.items())
    page = Manpage(parser)
    page.prog = name = parser.prog.replace(" ", "-")
    page.description = summary
    _, *made = str(page).splitlines()
    lines = [f'.TH {man.unmarked(name.upper())} 1 "{day}" "runstate\\-abi" "runstate\\-abi"']
    lines += (".ad l", ".nh")
    for line in made:
        lines += plain.laid_out(texts[line] or "") if line in texts else (line,)
    begin = lines.index(".SH SYNOPSIS") + 1
    lines[begin : begin + 2] = plain.synopsis(parser.prog, lines[begin + 1])
    # A line that begins with ' would be taken for a request.
    lines = [re.sub("^'", r"\&'", line) for line in lines]
    return "\n".join([*lines, *man.see_also(_other_pages(name)), ""])


# The overview first, then the commands by name.
def _other_pages(name: str) -> tuple[str, ...]:
    pages = ("runstate", *sorted(f"runstate-{verb.name}" for verb in cli.VERBS))
    return tuple(f"{page}(1)" for page in pages if page != name)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
