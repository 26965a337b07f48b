"""The example frontend, installed and compiled, and programs that run beside it under Node."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "frontend"
PROGRAMS = Path(__file__).parent


@dataclass(frozen=True)
class Frontend:
    """The installed example, compiled into `build`."""

    directory: Path

    def tsc(self, *arguments: str) -> str:
        """What the TypeScript compiler has to say; nothing when all is well."""
        command = [self.directory / "node_modules" / ".bin" / "tsc", *arguments]
        done = subprocess.run(command, cwd=self.directory, check=False, capture_output=True, text=True, timeout=60)
        return done.stdout

    def command(self, program: str, *options: str) -> list[str]:
        """The command that runs a program of tests/frontend beside the compiled example."""
        return ["node", *options, str(shutil.copy(PROGRAMS / program, self.directory / "build"))]


def node_major() -> int:
    """The first number of Node's version."""
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    return int(version.removeprefix("v").split(".")[0])
