"""Files out of Debian packages, for the tests that need the network.

A kernel package has 100 MB, of which a test wants 12: the package is read as a stream (ar, then
xz or zstd, then tar) and left at the last member wanted. Names are resolved through the package
index, because versions come and go; the index and the members are kept in a cache folder.

The mirror is the one that this machine's own apt knows, and the name of no host
is written here. Index not reached: Unreachable, and so is a file that the index has and the mirror
has not, as while it changes. A package or a member that is not there at all is an error.
"""

import fcntl
import lzma
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

CACHE = Path(os.environ.get("RUNSTATE_TEST_CACHE") or tempfile.gettempdir()) / (
    f"runstate-abi-tests-{os.getuid()}"
)
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
INDEX_AGE_MAX = 24 * 3600  # seconds
KERNEL_PACKAGE = re.compile(r"linux-(image|binary|modules)-[\w.+-]+")
AR_MAGIC, AR_HEADER = b"!<arch>\n", 60


class Unreachable(pytest.skip.Exception):
    """No package can be had: no apt, no mirror in its sources, no network, or a file that is gone.

    Whatever asks for one is skipped with this reason.
    """


def kernel(suite, package, members, architecture="amd64"):
    """Return paths of a kernel's files; ``members`` are patterns of base names, each found once.

    ``package`` is a metapackage, such as linux-image-cloud-amd64. Up to 6.x its linux-image-V has
    everything; from 7.x on linux-binary-V has the kernel and linux-modules-V the modules.
    """
    apt = _apt(suite, architecture)
    names = _closure(apt, package)
    paths = {}
    for holder, wanted in _holders(names, members).items():
        paths.update(_members(apt, holder, wanted))
    return [paths[member] for member in members]


def package(suite, name, members, architecture="amd64"):
    """Return paths of the files in one package whose base names match the patterns."""
    paths = _members(_apt(suite, architecture), name, members)
    return [paths[member] for member in members]


# Which package has which member: the kernel itself, or its modules.
def _holders(names, members):
    holders = {}
    for member in members:
        kind = "modules" if ".ko" in member else "binary"
        found = [name for name in names if re.match(rf"linux-{kind}-\d+\.\d", name)]
        found = found or [name for name in names if re.match(r"linux-image-\d+\.\d", name)]
        holders.setdefault(found[0], []).append(member)
    return holders


# A private apt: its own sources, index and cache, with the keys and the mirror of the machine's.
def _apt(suite, architecture):
    root = CACHE / f"apt-{suite}-{architecture}"
    config = root / "apt.conf"
    root.mkdir(parents=True, exist_ok=True)
    with (root / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # Tests run in several processes.
        _update(root, config, suite, architecture)
    return config


def _update(root, config, suite, architecture):
    fresh = config.exists() and time.time() - config.stat().st_mtime < INDEX_AGE_MAX
    if not fresh:
        for folder in ("lists/partial", "cache/archives/partial", "parts"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        signed = f"[signed-by={KEYRING}] " if KEYRING.exists() else ""
        (root / "sources.list").write_text(f"deb {signed}{_mirror()} {suite} main\n")
        config.write_text(
            f'Dir::Etc::sourcelist "{root}/sources.list";\nDir::Etc::sourceparts "{root}/parts";\n'
            f'Dir::State::lists "{root}/lists";\nDir::State::status "/dev/null";\n'
            f'Dir::Cache "{root}/cache";\nAPT::Update::Error-Mode "any";\n'
            f'APT::Architecture "{architecture}";\nAPT::Architectures {{ "{architecture}"; }};\n'
        )
        try:
            _run(config, "apt-get", "--quiet=2", "update")
        except subprocess.CalledProcessError as error:
            config.unlink()
            raise Unreachable(f"apt-get update ({suite}): {_last_line(error.stderr)}") from None


# Where this machine's own sources have Debian itself (and not its security or other archives).
def _mirror():
    try:
        listed = _run(None, "apt-get", "update", "--print-uris")
    except FileNotFoundError:
        raise Unreachable("there is no apt-get on this machine") from None
    found = re.search(r"'(\S+/debian)/dists/[\w-]+/InRelease'", listed)
    if not found:
        raise Unreachable("the sources of this machine's apt have no Debian mirror")
    return found[1]


def _run(config, *command):
    environment = {**os.environ, "LC_ALL": "C"} | ({"APT_CONFIG": str(config)} if config else {})
    for pause in (1, 5, 0):  # Another apt may be at work on the same files.
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, cwd=CACHE.parent
        )
        if done.returncode == 0:
            return done.stdout
        print(f"{' '.join(command)}: {_last_line(done.stderr)}", file=sys.stderr)
        time.sleep(pause)
    raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)


def _last_line(text):
    return (text.strip().splitlines() or ["no message"])[-1]


def _closure(apt, name):
    names, queue = [], [name]
    while queue:
        name = queue.pop()
        if name not in names:
            names.append(name)
            shown = _run(apt, "apt-cache", "show", "--no-all-versions", name)
            depends = re.search(r"^Depends: (.*)$", shown, re.MULTILINE)
            queue += [found[0] for found in KERNEL_PACKAGE.finditer(depends[1] if depends else "")]
    return names


def _members(apt, name, members):
    line = _run(apt, "apt-get", "download", "--print-uris", name)
    address, file_name, *_ = line.replace("'", "").split()
    folder = CACHE / file_name.removesuffix(".deb")
    folder.mkdir(parents=True, exist_ok=True)
    kept = {member: _kept(folder, member) for member in members}
    missing = [member for member, path in kept.items() if path is None]
    if missing:
        print(f"streaming {file_name}", file=sys.stderr)
        with opened(apt, address) as response:
            kept.update(_extracted(response, folder, missing))
    return kept


def opened(apt, address):
    """Return the response to a request for a file that the index names."""
    try:
        return urllib.request.urlopen(address, timeout=60)
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
    apt.unlink(missing_ok=True)  # The next run asks for a newer index.
    raise Unreachable(f"the mirror lists {os.path.basename(address)} and does not have it")


def _kept(folder, member):
    return next((path for path in folder.iterdir() if re.fullmatch(member, path.name)), None)


# Read the tar as it comes, and stop at the last member wanted.
def _extracted(response, folder, members):
    wanted, found = list(members), {}
    with tarfile.open(fileobj=_data(response), mode="r|") as archive:
        for entry in archive:
            name = os.path.basename(entry.name)
            member = next((known for known in wanted if re.fullmatch(known, name)), None)
            if member and entry.isfile():
                part = folder / f".{name}.{os.getpid()}.part"
                part.write_bytes(archive.extractfile(entry).read())
                found[member] = part.rename(folder / name)
                wanted.remove(member)
            if not wanted:
                return found
    raise LookupError(f"{folder.name}: no member {', '.join(wanted)}")


# A .deb is an ar archive: skip to its data.tar and inflate that.
def _data(response):
    if response.read(len(AR_MAGIC)) != AR_MAGIC:
        raise ValueError("not a Debian package")
    while True:
        header = response.read(AR_HEADER)
        name, size = header[:16].decode().strip(), int(header[48:58])
        if name.startswith("data.tar"):
            break
        response.read(size + size % 2)
    if name.startswith("data.tar.xz"):
        return lzma.open(response)
    import zstandard

    return zstandard.ZstdDecompressor().stream_reader(response)
