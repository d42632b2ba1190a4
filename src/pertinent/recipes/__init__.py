"""The recipes that come with Pertinent: one folder a system, one YAML file a recipe."""

from pathlib import Path

RECIPES = Path(__file__).parent


def recipe_names() -> list[str]:
    """Names of the recipes that come with Pertinent, such as `happier/glyphs`."""
    return sorted(path.relative_to(RECIPES).with_suffix("").as_posix() for path in RECIPES.glob("*/*.yaml"))
