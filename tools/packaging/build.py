"""Run by setuptools to put man pages and shell completion into the wheel; no module imports it.

[tool.setuptools.cmdclass] names it. The pages come from the parsers, so the packages are needed
under their own names before they are installed: a folder of links serves as one.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools.command.build_py import build_py

ROOMS = ("layouts", "writer", "tools")


class BuildPages(build_py):
    """build_py, and then the pages, as data files of the distribution."""

    def run(self) -> None:
        """Build the packages and, unless they are installed in place, the pages."""
        if self.editable_mode:
            super().run()
            return
        # An earlier build may have left modules here that the source has no longer.
        built = Path(self.build_lib)
        shutil.rmtree(built / "runstate_abi", ignore_errors=True)
        super().run()
        folder = built.parent / "pages"
        shutil.rmtree(folder, ignore_errors=True)
        _make(folder.absolute())
        files = self.distribution.data_files or []
        by_place: dict[str, list[str]] = {}
        for path in sorted((folder / "share").rglob("*")):
            if path.is_file():
                place = path.parent.relative_to(folder).as_posix()
                by_place.setdefault(place, []).append(str(path))
        self.distribution.data_files = [*files, *by_place.items()]


def _make(folder: Path) -> None:
    package = folder / "import" / "runstate_abi"
    package.mkdir(parents=True)
    for room in ROOMS:
        (package / room).symlink_to(Path.cwd() / room, target_is_directory=True)
    path = os.pathsep.join(filter(None, (str(package.parent), os.environ.get("PYTHONPATH"))))
    # No bytecode: it would be written through the links into the source.
    subprocess.run(
        [sys.executable, "-B", "-m", "runstate_abi.tools.packaging.pages", str(folder)],
        env={**os.environ, "PYTHONPATH": path},
        check=True,
    )
