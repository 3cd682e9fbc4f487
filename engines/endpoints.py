"""Where a provider is, the key that it gets, and what it calls things."""

from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

from engines.base import EngineError

LEAST_SECRET = 12
"""Shorter keys ("none", "ollama") are placeholders, and words of their own."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An OpenAI-compatible API: `base_url` ends before `/chat/completions`, mostly with `/v1`.

    Raises `EngineError` for an address or a key that no request can be made with.
    """

    name: str
    base_url: str
    api_key: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.base_url)
            good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            good = False
        if not good:
            raise EngineError(
                f"The base_url of the provider '{self.name}' is not an http:// or https:// address."
            )
        if parts.username is not None or parts.password is not None:
            raise EngineError(
                f"The base_url of the provider '{self.name}' has a user or a password in it; "
                "use api_key."
            )
        if not all("!" <= character <= "~" for character in self.api_key or ""):
            raise EngineError(
                f"The API key of the provider '{self.name}' has spaces or other characters that "
                "cannot be sent."
            )

    def url(self, path: str) -> str:
        """The address of `path`, such as `/embeddings`; a query of the base stays."""
        parts = urlsplit(self.base_url)
        return urlunsplit(parts._replace(path=parts.path.rstrip("/") + path, fragment=""))

    @property
    def headers(self) -> dict[str, str]:
        headers = {"content-type": "application/json", "user-agent": "antiphon"}
        return headers | ({"authorization": f"Bearer {self.api_key}"} if self.api_key else {})

    @property
    def is_openai(self) -> bool:
        host = urlsplit(self.base_url).hostname or ""
        return host.endswith((".openai.com", ".openai.azure.com"))

    @property
    def token_limit(self) -> str:
        """The field of a chat request with the most tokens. OpenAI's newer models refuse the old
        name, which is the only one that all others know."""
        return "max_completion_tokens" if self.is_openai else "max_tokens"

    def redacted(self, text: str) -> str:
        """`text` without the key."""
        if self.api_key is None or len(self.api_key) < LEAST_SECRET:
            return text
        return text.replace(self.api_key, "***")
