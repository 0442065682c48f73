"""The forge from Python: what needs no gradient is done by the product itself."""

import json
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def forge(*words: str | Path) -> dict:
    """Run `espalier forge WORDS --json`. Returns its document; its messages go to standard error."""
    command = [os.environ.get("ESPALIER_CLI", str(ROOT / "node_modules/.bin/espalier")), "forge", *map(str, words), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)
