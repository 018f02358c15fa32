"""What can go wrong that a person must mend.

Each message is one sentence that says what is wrong and what to do. A completion that does not come is
never among them: that is an empty answer.

    MidfillError
    ├── SettingsError      a setting has no meaning
    ├── DocumentError      a file or a position in it does not exist
    ├── ModelError         a model file cannot be used as asked
    │   └── RoleError      the model is sound but made for something else
    └── EngineError        the engine did not answer
        ├── EngineGone     its process or connection ended in the middle
        ├── EngineBusy     it has too much to do just now
        ├── EngineFull     it ran out of memory while it computed
        └── EngineRefused  it answered, and said no
"""


class MidfillError(Exception):
    """Base of all errors that are shown to a person as one sentence."""


class SettingsError(MidfillError):
    """A setting has no meaning; the sentence names the setting and what it may be."""


class DocumentError(MidfillError):
    """A file, or a position in it, does not exist."""


class ModelError(MidfillError):
    """A model file is missing, damaged, or too large for this machine."""


class RoleError(ModelError):
    """The model is sound but was not made for what it is asked; the sentence names what would do."""


class EngineError(MidfillError):
    """The engine did not answer as it should."""


class EngineGone(EngineError):
    """The engine's process or connection ended in the middle; asking again may succeed."""


class EngineBusy(EngineError):
    """The engine has too much to do, or is still loading its model; asking again later may succeed."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        """When to ask again, if it said so."""


class EngineFull(EngineError):
    """The engine ran out of memory while it computed; with less it may go on."""


class EngineRefused(EngineError):
    """The engine answered with a refusal; asking the same again will not help."""
