"""The root of the domain's errors."""


class HeadraceError(Exception):
    """The root of every error that Headrace raises on purpose.

    The message is one sentence for the person who caused it: lower case, no full stop, no secrets.
    """
