"""Errors of signing in at a provider, and of reading there with a user's account."""

from headrace.domain.errors import HeadraceError


class ProviderNotFoundError(HeadraceError):
    """The provider is not configured, or the service does not use sign-in at all."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no provider {name[:64]!r} to sign in at")
        self.name = name


class NoSessionsError(HeadraceError):
    """The service does not use sign-in, so it has no sessions."""

    def __init__(self) -> None:
        super().__init__("nobody signs in here")


class StateMismatchError(HeadraceError):
    """The callback does not belong to a pending sign-in of this browser."""

    def __init__(self) -> None:
        super().__init__("this sign-in was not begun in this browser, or is already done; begin again")


class LoginExpiredError(HeadraceError):
    """The callback came later than ten minutes after the sign-in began."""

    def __init__(self) -> None:
        super().__init__("the sign-in took too long; begin again")


class LoginCancelledError(HeadraceError):
    """The user cancelled the sign-in at the provider."""

    def __init__(self) -> None:
        super().__init__("the sign-in was cancelled at the provider")


class CodeRefusedError(HeadraceError):
    """The provider refused a code or a refresh token: it is too old or was used before."""

    def __init__(self, provider: str) -> None:
        super().__init__(f"{provider} did not accept the sign-in; begin again")
        self.provider = provider


class IdTokenRefusedError(HeadraceError):
    """The provider's ID token is not valid: its signature, its audience or its time is wrong."""

    def __init__(self, provider: str, reason: str) -> None:
        super().__init__(f"the ID token of {provider} does not count ({reason})")
        self.provider = provider
        self.reason = reason


class ProviderAwayError(HeadraceError):
    """The provider does not answer in time, or its answer cannot be read."""

    def __init__(self, provider: str, reason: str) -> None:
        super().__init__(f"{provider} is not available ({reason})")
        self.provider = provider
        self.reason = reason


class NotConnectedError(HeadraceError):
    """The service has no valid tokens to read at the provider for the caller."""

    def __init__(self, provider: str) -> None:
        super().__init__(f"you are not connected to {provider}; sign in there")
        self.provider = provider


class ToneNotFoundError(HeadraceError):
    """There is no tone with that number, or the caller may not see it."""

    def __init__(self, tone_id: int) -> None:
        super().__init__(f"there is no tone {tone_id}")
        self.tone_id = tone_id
