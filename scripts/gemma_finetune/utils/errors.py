"""The error for mistakes that a user can fix."""


class UserError(Exception):
    """A mistake that the user can fix. The message says where, what was found, and what to do."""
