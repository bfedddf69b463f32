"""The one exception for mistakes that the user can mend."""


class UserError(Exception):
    """A mistake that the user can mend; shown as one message without traceback."""
