"""``python -m autobuild``: the same as the command ``autobuild``."""

import sys

from autobuild.cli import main

sys.exit(main())
