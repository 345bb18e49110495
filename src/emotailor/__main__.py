"""``python -m emotailor`` is the command ``emotailor``: the entrance of both.

Nothing but Python's own library is imported here, so that a package that is missing can be named.
"""

import sys

NEEDED = {
    "accelerate": "accelerate",
    "filelock": "filelock",
    "h5py": "h5py",
    "jaxtyping": "jaxtyping",
    "matplotlib": "matplotlib",
    "numpy": "numpy",
    "pydantic": "pydantic",
    "rich": "rich",
    "safetensors": "safetensors",
    "scipy": "scipy",
    "sklearn": "scikit-learn",
    "torch": "torch",
    "typer": "typer",
}
"""Name of a module -> the package that brings it."""


def main() -> None:
    """Run the command line; a package that is missing is named in one message."""
    try:
        from emotailor.cli import main as run

        run()
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        package = NEEDED.get(module)
        if package is None:
            raise
        sys.exit(_message(package))


def _message(package: str) -> str:
    return (
        f"error: the package {package} is not installed\n"
        f"  expected: all that emotailor needs, beside {sys.executable}\n"
        "  to fix it: pip install emotailor (without --no-deps), or `make demo` in a clone"
    )


if __name__ == "__main__":
    main()
