"""Device profiles, emission factors, process gases and rules as data, shipped in the wheel."""

from importlib import resources


def names(folder: str) -> list[str]:
    """The names in a folder (`devices`, `factors`, `process_gases` ...), without ending, sorted."""
    entries = resources.files(__name__).joinpath(folder).iterdir()
    return sorted(entry.name[:-5] for entry in entries if entry.name.endswith(".yaml"))


def text(folder: str, name: str) -> str:
    """The YAML text of one of `names(folder)`.

    Raises:
        KeyError: there is none of that name.
    """
    if name not in names(folder):
        raise KeyError(name)
    return resources.files(__name__).joinpath(folder, f"{name}.yaml").read_text("utf-8")


def sunspec_models() -> str:
    """The JSON text of the SunSpec models whose points a profile may name."""
    return resources.files(__name__).joinpath("sunspec", "models.json").read_text("utf-8")
