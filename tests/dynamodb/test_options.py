"""What a URL of a DynamoDB store may say."""

from __future__ import annotations

import pytest

from ialstore import ConfigurationError, InvalidInputError, open_store
from ialstore.url import StoreURL
from ialstore_backends.dynamodb import DynamoConversationStore, DynamoOptions


def test_a_url_names_the_tables_and_the_options() -> None:
    """U1: the authority is the prefix of the tables, case kept."""
    url = StoreURL.parse("dynamodb://Prod_1.x-?region=eu-west-1&spread=4&session_index=false")
    store = DynamoConversationStore.from_url(url)
    assert store.table == "Prod_1.x-conversation-history-v2"
    store.close()


@pytest.mark.parametrize(
    "url",
    [
        "dynamodb://",
        "dynamodb:///path",
        "dynamodb://a/b",
        "dynamodb://a:80",
        "dynamodb://a%2Fb",
        "dynamodb://é",
        "dynamodb://" + "x" * 201,
        "dynamodb://user:secret@prod-",
    ],
)
def test_what_is_no_prefix_is_refused(url: str) -> None:
    """U1: 1 to 200 of A-Z, a-z, 0-9, _ . -; no user info, no port."""
    with pytest.raises(ConfigurationError) as caught:
        open_store(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("regoin=eu-west-1", "did you mean region"),
        ("spread=3", "spread"),
        ("billing=free", "billing"),
        ("read_units=0", "read_units must be at least 1"),
        ("tags=a", "tags are key:value"),
        ("tags=a:1%2Ca:2", "each key once"),
        ("endpoint=file%3A%2F%2F%2Fetc", "endpoint must be http"),
        ("endpoint=http%3A%2F%2Fu%3Ap%40host", "no user info"),
        ("endpoint=http%3A%2F%2Fhost%2Fpath", "no more than"),
        ("endpoint=http%3A%2F%2Fhost%3Aport", "must be a URL"),
        ("endpoint=http%3A%2F%2F169.254.169.254", "link-local"),
    ],
)
def test_a_wrong_option_is_named(option: str, text: str) -> None:
    """U1: `ConfigurationError`; an endpoint is a web address and no other."""
    with pytest.raises(ConfigurationError, match=text):
        open_store(f"dynamodb://prod-?{option}")


def test_tags_are_pairs() -> None:
    options = DynamoOptions(tags="team:memory,stage:prod:eu", endpoint="https://[::1]:8000/")
    assert options.tag_pairs() == {"team": "memory", "stage": "prod:eu"}
    with pytest.raises(InvalidInputError):
        DynamoOptions(tags=":x")


@pytest.mark.parametrize("host", ["localhost:8000", "[::1]:8000", "10.0.0.1", "dynamodb.example"])
def test_an_endpoint_is_a_name_or_an_address(host: str) -> None:
    assert DynamoOptions(endpoint=f"https://{host}").endpoint == f"https://{host}"
