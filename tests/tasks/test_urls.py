"""Credentials in addresses are found, and left out of what people see."""

import pytest

from segtransfer.tasks.urls import secret_part, without_credentials


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("s3://bucket/lab", None),
        ("s3://bucket/lab?endpoint_override=localhost:9000&scheme=http&region=eu", None),
        ("gs://anonymous@bucket/lab", None),
        ("abfs://container@account.dfs.core.windows.net/lab", None),
        ("postgresql://ada@host/studies", None),
        ("s3://key:s3cret@bucket/lab", "password"),
        ("postgresql://ada:@host/studies", "password"),
        ("postgresql:///studies?user=ada&password=s3cret", "password"),
        ("abfs://c@a.dfs.core.windows.net/x?tenant_id=t&client_secret=s3cret", "client_secret"),
        ("https://host/a.pth?X-Amz-Signature=s3cret", "X-Amz-Signature"),
        ("https://host/a.pth?sv=2024&sig=s3cret", "sig"),
        ("https://host/a.pth?access_token=", "access_token"),
    ],
)
def test_credential_of_a_url_is_found(url: str, part: str | None) -> None:
    assert secret_part(url) == part


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://ada:s3cret@host:5000/api", "http://host:5000/api"),
        ("postgresql://ada:s3c@ret@host/db is down", "postgresql://host/db is down"),
        (
            "API request to http://ada:s3cret@host failed: 401",
            "API request to http://host failed: 401",
        ),
        ("see 'https://host/a.pth?sig=s3cret'", "see 'https://host/a.pth'"),
        ("no address, ada@host?", "no address, ada@host?"),
    ],
)
def test_text_is_shown_without_credentials(text: str, shown: str) -> None:
    assert without_credentials(text) == shown
