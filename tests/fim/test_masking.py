"""Secrets are covered, code is not, and lines stay where they are."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midfill.masking import masked
from midfill.text import split_lines

KEY = "MIIEpAIBAAKCAQEAx3Yl2m0c8vQ1\nKq7Zt5b+uT/9sPqL0wXy2Rf4Hh==\n"
BLOCK = f"-----BEGIN RSA PRIVATE KEY-----\n{KEY}-----END RSA PRIVATE KEY-----\n"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        pytest.param('id = "AKIAIOSFODNN7EXAMPLE"', "AKIAIOSFODNN7EXAMPLE", id="aws-id"),
        pytest.param(
            "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            id="aws-secret-bare",
        ),
        pytest.param(
            "# ghp_16C7e42F292c6912E7710c838347Ae178B4a ok",
            "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
            id="github-in-a-comment",
        ),
        pytest.param(
            "x(github_pat_11ABCDE0000aaaabbbbcccc_ddddeeeeffff)", "11ABCDE0000", id="github-fine"
        ),
        pytest.param(
            "t = 'xoxb-2345678901-abcdefGHIJKL'", "xoxb-2345678901-abcdefGHIJKL", id="slack"
        ),
        pytest.param(
            "https://hooks.slack.com/services/T000/B000/abcdefGHIJKL",
            "T000/B000/abcdefGHIJKL",
            id="slack-hook",
        ),
        pytest.param(f"h = {{'Authorization': 'Bearer {JWT}'}}", JWT, id="jwt"),
        pytest.param("curl -H 'Authorization: Bearer abcdef123456'", "abcdef123456", id="bearer"),
        pytest.param("k = 'sk-proj-abcdefghijklmnopqrstuv'", "sk-proj-abcdefgh", id="openai"),
        pytest.param('password = "correcthorse"', "correcthorse", id="password"),
        pytest.param('{"db_password": "hunter2"}', "hunter2", id="password-json"),
        pytest.param('api_key: "abcd1234efgh"', "abcd1234efgh", id="named-quoted"),
        pytest.param("API_TOKEN=9f8e7d6c5b4a39281706", "9f8e7d6c5b4a39281706", id="named-bare"),
        pytest.param("postgres://me:s3cr3t@db/x", "s3cr3t", id="url"),
        pytest.param(
            'seed = "8f14e45fceea167a5a36dedd4bea2543"',
            "8f14e45fceea167a5a36dedd4bea2543",
            id="hexadecimal-in-an-assignment",
        ),
        pytest.param(
            "send(Zm9vYmFyYmF6cXV4MTIzNDU2Nzg5MGFiY2RlZkdISUpLTE1O)",
            "Zm9vYmFyYmF6cXV4MTIzNDU2Nzg5MGFiY2RlZkdISUpLTE1O",
            id="long-run",
        ),
        pytest.param(BLOCK, KEY.split("\n", maxsplit=1)[0], id="key-block"),
        pytest.param(BLOCK, KEY.split("\n")[1].removesuffix("=="), id="key-block-second-line"),
        pytest.param(
            BLOCK.partition("-----END")[0], KEY.split("\n", maxsplit=1)[0], id="key-block-cut-off"
        ),
        pytest.param(
            repr(BLOCK), KEY.split("\n", maxsplit=1)[0], id="key-block-in-a-string-with-escapes"
        ),
    ],
)
def test_secrets_are_covered(text: str, secret: str) -> None:
    assert secret in text
    assert secret not in masked(text)
    assert not any(part in masked(text) for part in (secret[:8], secret[-8:]) if len(secret) >= 8)


@pytest.mark.parametrize(
    "text",
    [
        "token = tokenizer.next_token1()",
        "password = getpass.getpass()",
        'password = input("Enter the password: ")',
        'token_type = "access_token"',
        "auth: Authorization2 = None",
        'key = "application_v2_production_settings"',
        'name = "test_that_a_window_moves_in_256_steps"',
        "getTokenForUserWithNameAndPassword2(userName, passWord)",
        "from com.example.Project2.very.long.Package3.named.Things4 import Everything",
        'if "-----BEGIN PRIVATE KEY-----" in text:\n    return parse_private_key(text)\n',
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "https://example.org:8080/path@2",
        "hashlib.sha256(secret_value.encode()).hexdigest()",
    ],
)
def test_code_stays(text: str) -> None:
    assert masked(text) == text


def test_little_of_this_project_s_own_code_is_covered() -> None:
    """It holds no secret; one line in 10,000 may be covered all the same."""
    files = list((Path(__file__).parents[2] / "fim").rglob("*.py"))
    lines = [line for file in files for line in file.read_text("utf-8").split("\n")]
    assert len(lines) > 5000
    covered = [line for line in lines if masked(line) != line]
    assert len(covered) <= len(lines) / 10_000, covered


PARTS = st.sampled_from(
    [
        *('password = "', 'token: "', "'", '"', "\n", "\r\n", "\r", "\f", " ", "=", "x", "é", "😋"),
        *("AKIAIOSFODNN7EXAMPLE", "ghp_16C7e42F292c6912E7710c838347Ae178B4a", JWT, BLOCK, KEY),
        *("-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----", "://a:", "@", "Bearer "),
        *("*", "****", "9f8e7d6c5b4a39281706", "+", "/", "secret", "sk-", "eyJ", "."),
    ]
)
TEXTS = st.lists(PARTS | st.text(max_size=8), max_size=24).map("".join)


@given(TEXTS)
def test_masking_again_changes_nothing(text: str) -> None:
    assert masked(masked(text)) == masked(text)


@given(TEXTS)
def test_lines_and_offsets_stay(text: str) -> None:
    covered = masked(text)
    assert len(covered) == len(text)
    assert [len(line) for line in split_lines(covered)] == [len(line) for line in split_lines(text)]
    assert all(a in (b, "*") for a, b in zip(covered, text, strict=True))
