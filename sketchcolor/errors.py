"""What can go wrong, one line each: the value received, what is allowed, what to do."""


class SketchColorError(Exception):
    """Base of every error that this package raises on purpose. `str(error)` is one line for a person."""


class ImageError(SketchColorError):
    """A picture cannot be read, written or used."""


class SettingsError(SketchColorError, ValueError):
    """A setting has a value that is not allowed."""


class LibraryError(SketchColorError):
    """A library cannot be opened, built or searched."""


class WeightsError(SketchColorError):
    """Network weights are missing, damaged or not trusted."""


class BusyError(SketchColorError):
    """The app has done enough for one visitor for now."""
