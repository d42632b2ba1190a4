"""The REST service over an index; its libraries are imported by the modules in here alone."""

from importlib.util import find_spec

from pertinent.errors import MissingDependencyError


def check_libraries() -> None:
    """Raise MissingDependencyError, with the install command, unless everything that the service needs is there."""
    missing = [name for name in ("fastapi", "uvicorn", "python_multipart") if find_spec(name) is None]
    if missing:
        raise MissingDependencyError(f"serving needs {', '.join(missing)}: pip install 'pertinent[serve]'")
