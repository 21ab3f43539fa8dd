"""``python tests/replaying FILE...``: hold recordings against the model, and say N of N."""

import sys
from pathlib import Path

# Running a folder puts the folder itself on the path, and its modules import each other by name.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from replaying.replay import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
