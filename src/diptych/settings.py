"""Where things are kept.

Everything of one user lies in one home folder: `--home` on the command line, else the environment variable
`DIPTYCH_HOME`, else the platform's user data folder.
"""

from __future__ import annotations

import os
from pathlib import Path

HOME_VARIABLE = "DIPTYCH_HOME"


def home() -> Path:
    """The home folder, created when something is first written to it."""
    chosen = os.environ.get(HOME_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    from platformdirs import user_data_path

    return user_data_path("diptych", appauthor=False)


def user_catalogue() -> Path:
    """The models that this user added."""
    return home() / "models.toml"


def probe_cache() -> Path:
    """What was measured of this machine's arithmetic."""
    return home() / "probe.json"
