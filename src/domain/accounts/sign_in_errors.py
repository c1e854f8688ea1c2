"""Why somebody could not sign in at a provider, or has no account there to read with."""

from headrace.domain.errors import HeadraceError


class ProviderNotFoundError(HeadraceError):
    """Nobody signs in there: it is not configured, or the service does not let people in by sign-in."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no provider {name[:64]!r} to sign in at")
        self.name = name


class NoSessionsError(HeadraceError):
    """The service does not let people in by sign-in, so there are no sessions."""

    def __init__(self) -> None:
        super().__init__("nobody signs in here")


class StateMismatchError(HeadraceError):
    """Whoever comes back from a provider was not sent there by this service, from this browser, just now."""

    def __init__(self) -> None:
        super().__init__("this sign-in was not begun in this browser, or is already done; begin again")


class LoginExpiredError(HeadraceError):
    """Somebody stayed at the provider for too long."""

    def __init__(self) -> None:
        super().__init__("the sign-in took too long; begin again")


class LoginCancelledError(HeadraceError):
    """Somebody said no at the provider."""

    def __init__(self) -> None:
        super().__init__("the sign-in was cancelled at the provider")


class CodeRefusedError(HeadraceError):
    """A provider does not take what it once gave: a code or a refresh token, too old or used before."""

    def __init__(self, provider: str) -> None:
        super().__init__(f"{provider} did not accept the sign-in; begin again")
        self.provider = provider


class IdTokenRefusedError(HeadraceError):
    """What a provider says about somebody does not hold: not signed by it, not for us, not now."""

    def __init__(self, provider: str, reason: str) -> None:
        super().__init__(f"the ID token of {provider} does not count ({reason})")
        self.provider = provider
        self.reason = reason


class ProviderAwayError(HeadraceError):
    """A provider does not answer in time, or not in a way that can be read."""

    def __init__(self, provider: str, reason: str) -> None:
        super().__init__(f"{provider} is not available ({reason})")
        self.provider = provider
        self.reason = reason


class NotConnectedError(HeadraceError):
    """The caller has no account at a provider that the service may read with, or not any more."""

    def __init__(self, provider: str) -> None:
        super().__init__(f"you are not connected to {provider}; sign in there")
        self.provider = provider


class ToneNotFoundError(HeadraceError):
    """No tone has that number, or the caller may not see it."""

    def __init__(self, tone_id: int) -> None:
        super().__init__(f"there is no tone {tone_id}")
        self.tone_id = tone_id
