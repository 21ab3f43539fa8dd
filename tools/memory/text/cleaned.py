"""Remove what a terminal, a log, a mail or a debugger adds to the lines of pasted text.

These are byte order marks, escape codes, quotes, comments, time stamps, and prompts.
"""

import json
import re

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_HEX = "[0-9a-fA-F]"

# Separators of some tools: WinDbg puts them inside 64 bits, and between eight bytes and eight.
_REWRITTEN = (
    ("\x1b", _ESCAPES, ""),
    ("`", re.compile(rf"(?<={_HEX}{{8}})`(?={_HEX}{{8}})"), ""),
    ("-", re.compile(rf"(?<= {_HEX}{{2}})-(?={_HEX}{{2}} )"), " "),
    ("\t", re.compile(rf"(?<=[{_HEX[1:-1]}:>])\t+(?=(?:0x)?{_HEX}{{2}})"), " "),
    ("\t", re.compile(r"\t"), "  "),
    # hexyl draws its columns.
    ("\u250a", re.compile("\u250a"), " "),
    ("\u2502", re.compile(rf"\u2502({_HEX}{{8,}})\u2502([^\u2502\n]*)\u2502", re.M), r"\1 \2|"),
    ("\u00a0", re.compile("\u00a0"), " "),
)

# What may stand in front of a dump's line, any of it several times.
# fmt: off
_IN_FRONT = re.compile(
    r"(?:\s+"
    r"|>(?: |(?=>)|(?=\s*$))"                                 # a mail's quote, a second prompt
    r"|(?://|\*|;|--) "                                       # a comment
    r"|<\d+>|\d+,\d+,\d+,[-c];"                               # /dev/kmsg
    r"|[A-Z][a-z]{2} +\d+ \d\d:\d\d:\d\d[.\d]* (?:\S+ (?=kernel))?"    # syslog
    r"|\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\S* (?:\S+ (?=kernel))?"        # journalctl, dmesg: iso
    r"|kernel: ?|kern +:\w+ *: ?"
    r"|\[ *\+?\d+\.\d+\] ?(?:\[ *[CT]\d+\] ?)?"               # printk.time, printk's caller
    r"|\[[A-Z][a-z]{2}\d+ \d\d:\d\d\] ?"                       # dmesg -H
    r"|\[[A-Z][a-z]{2} [A-Z][a-z]{2} +\d+ [\d:.]+ \d{4}\] ?"  # dmesg -T
    r"|\((?:gdb|lldb|qemu|rr|XEN)\) ?|\(XEN\) \[[^\]]*\] ?"
    r"|\d+: ?k?d?> ?|(?:\d+: )?l?kd> ?|\d+:\d{3}(?::\w+)?> ?"
    r"|(?:crash|crash64|drgn|pwndbg|virsh) ?[>#] ?|gef\S* "
    r"|>>> ?|In \[\d+\]: ?|Out\[\d+\]: ?"
    r"|[\w.-]+@[\w.-]+:[^$#>\s]*[$#] |\[[\w.-]+@[^\]]*\][$#] |[$#%] +"
    r")"
)
# fmt: on
# A line that begins with an address has nothing in front of it.
_DUMPED = re.compile(rf"(?:0x)?{_HEX}{{5,}}:?(?: |$)")
_FRONT_MOST = 12  # so many of them are removed from one line

TEXT_MARKS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))


def clean_lines(data: bytes) -> list[str]:
    """Return the lines of a text without these additions, also from libvirt's JSON answer."""
    text = _answered(decoded(data))
    for sign, pattern, instead in _REWRITTEN:
        if sign in text:
            text = pattern.sub(instead, text)
    return [_alone(line.strip()) for line in text.split("\n")]


def decoded(data: bytes) -> str:
    """Return bytes as text: by their byte order mark, else UTF-8, else Latin-1."""
    for mark, encoding in TEXT_MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, "replace")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        # The end of what was read may be inside a character.
        if error.end == len(data) and error.reason == "unexpected end of data":
            return data[: error.start].decode("utf-8")
        return data.decode("latin-1")


# `virsh qemu-monitor-command` without --hmp answers with the monitor's text inside JSON.
def _answered(text: str) -> str:
    if '"return"' not in text or len(text) > 1 << 20:
        return text
    start = text.rfind("{", 0, text.find('"return"'))
    if start < 0:
        return text
    try:
        answer, end = json.JSONDecoder().raw_decode(text, start)
        return text[:start] + str(answer["return"]) + text[end:]
    except (ValueError, KeyError, TypeError, RecursionError):
        return text


def _alone(line: str) -> str:
    if _DUMPED.match(line):
        return line
    start = 0
    for _ in range(_FRONT_MOST):
        match = _IN_FRONT.match(line, start)
        if match is None:
            break
        start = match.end()
    return line[start:].strip()


def readable(data: bytes) -> bool:
    """Are these bytes text that people paste: printable, with hardly any accented letters?

    Memory that repeats one byte above 0x7f is printable Latin-1, but not text.
    """
    text = decoded(data)
    # Latin-1 has a byte for each character; UTF-8 and UTF-16 have more, and are no chance.
    plain = sum(character.isascii() for character in text)
    if len(text) == len(data) and 2 * plain < len(text):
        return False
    lines = _ESCAPES.sub("", text).replace("\t", " ").split("\n")
    return all(line.rstrip().isprintable() for line in lines)
