"""What a person did wrong, and can put right."""


class UserError(Exception):
    """A mistake that the user can fix. The message says where, what was found, and what to do."""
