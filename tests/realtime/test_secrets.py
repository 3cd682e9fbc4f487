"""The core of client secrets: minting, finding, expiry and bounds."""

import re

import pytest

from engines.base import Busy
from realtime.secrets import MAX_BYTES, MAX_LIVE, Secret, Secrets

NOW = 1_000.0


def secret(tenant: str = "one", expires_at: int = 1_600, size: int = 0) -> Secret:
    return Secret(tenant, "realtime", expires_at, {"type": "realtime"}, size)


def test_a_secret_is_found_until_it_expires() -> None:
    secrets = Secrets()
    minted = secret()
    value = secrets.mint(minted, NOW)
    assert secrets.find(value, NOW) is minted
    assert secrets.find(value, 1_599.9) is minted
    assert secrets.find(value, 1_600.0) is None
    assert len(secrets) == 0


def test_other_keys_are_not_secrets() -> None:
    secrets = Secrets()
    value = secrets.mint(secret(), NOW)
    for key in ("", "ek_", value[:-1], value + "x", value.upper(), "sch\udcffn"):
        assert secrets.find(key, NOW) is None


def test_values_differ_and_fit_into_a_subprotocol() -> None:
    secrets = Secrets()
    values = {secrets.mint(secret(), NOW) for _ in range(100)}
    assert len(values) == 100
    assert all(re.fullmatch(r"ek_[A-Za-z0-9_-]{43}", value) for value in values)


def test_neither_the_value_nor_the_session_is_shown() -> None:
    secrets = Secrets(lambda: "ek_known")
    value = secrets.mint(secret(), NOW)
    found = secrets.find(value, NOW)
    assert "ek_known" not in f"{found!r} {vars(secrets)!r}"
    assert "session" not in repr(found)


def test_a_tenant_with_all_its_secrets_waits_for_the_first_to_expire() -> None:
    secrets = Secrets()
    secrets.mint(secret(expires_at=1_050), NOW)
    for _ in range(MAX_LIVE - 1):
        secrets.mint(secret(), NOW)
    with pytest.raises(Busy) as refused:
        secrets.mint(secret(), NOW)
    assert refused.value.retry_after == 50
    secrets.mint(secret("two"), NOW)
    secrets.mint(secret(expires_at=2_000), 1_050)
    with pytest.raises(Busy):
        secrets.mint(secret(expires_at=2_000), 1_051)
    assert len(secrets) == MAX_LIVE + 1


def test_sessions_take_no_more_room_than_there_is() -> None:
    secrets = Secrets()
    secrets.mint(secret(size=MAX_BYTES - 1), NOW)
    with pytest.raises(Busy):
        secrets.mint(secret(size=2), NOW)
    secrets.mint(secret(size=1), NOW)
    secrets.mint(secret("two", size=MAX_BYTES), NOW)
    secrets.mint(secret(expires_at=9_000, size=MAX_BYTES), 2_000)
