"""Errors a user can cause and mend: one line each, naming the value and the way out."""


class JaxvlmError(ValueError):
    """Base of every error that bad input raises; the command line prints it and exits with code 2."""


class ConfigError(JaxvlmError):
    """A setting, prompt, size or task name that cannot work."""


class CheckpointError(JaxvlmError):
    """A CLIP checkpoint that is missing, incomplete or of another shape than its config says."""


class RunError(JaxvlmError):
    """A run directory that cannot be created, written, read or resumed."""
