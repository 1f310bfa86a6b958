"""Secrets are masked, and nothing else."""

import pytest

from cotrain.tables.masking import is_secret_file, masked


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cotrain work --token abc123", "cotrain work --token ***"),
        ("--db-password='a b' --lr 0.1", "--db-password='***' --lr 0.1"),
        ("DJ_PASS=hunter2 DJ_HOST=db", "DJ_PASS=*** DJ_HOST=db"),
        ("DB_PWD=hunter2", "DB_PWD=***"),
        ("DJ_PASS= DJ_HOST=db", "DJ_PASS= DJ_HOST=db"),
        ("AWS_SECRET_ACCESS_KEY=a/b+c", "AWS_SECRET_ACCESS_KEY=***"),
        ('{"password": "x y", "user": "ann"}', '{"password": "***", "user": "ann"}'),
        ("password: hunter2\nuser: ann", "password: ***\nuser: ann"),
        ("mysql://ann:hunter2@db:3306/lab", "mysql://ann:***@db:3306/lab"),
        ("https://ghp_abcdefghijklmnopqrst0123@github.com/x", "https://***@github.com/x"),
        ("Authorization: Bearer abcdefghijk", "Authorization: Bearer ***"),
        ("s3 AKIAABCDEFGHIJKLMNOP", "s3 ***"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END", "-----BEGIN RSA PRIVATE KEY-----***-----END"),
    ],
)
def test_a_secret_is_masked(text, expected):
    assert masked(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "cotrain run digits_v1 --only co-trained --out runs/a",
        "max_tokens=5 bypass=1 compass: 3 tokens = 4 key=7",
        'password authentication failed for user "ann"',
        "ssh://git@github.com/lab/recipes git@github.com:lab/recipes",
        "Run 0123456789abcdef0123456789abcdef failed: expected monkey=3",
    ],
)
def test_other_text_stays(text):
    assert masked(text) == text


def test_program_text_keeps_what_is_no_literal():
    assert (
        masked("+token = next(tokens)\n+password = read(path)", code=True)
        == "+token = next(tokens)\n+password = read(path)"
    )
    assert masked("+password = 'hunter2'  # the old one", code=True) == "+password = '***'  # the old one"


def test_what_the_process_was_given_is_masked_wherever_it_stands(monkeypatch):
    monkeypatch.setenv("DJ_PASS", "correct horse")
    monkeypatch.setenv("S3_TOKEN", "abc")
    monkeypatch.setenv("PWD", "/home/ann/recipes")
    assert masked("/home/ann/recipes/ours.py PWD=/x") == "/home/ann/recipes/ours.py PWD=/x"
    assert masked("could not send 'correct horse' abc") == "could not send '***' abc", "short ones are words"


def test_names_of_files_with_secrets():
    secret = (".env", "deep/.env.local", "my.pem", "secrets/x.py", "conf/passwords.yaml", "aws_credentials", ".netrc")
    assert [path for path in secret if not is_secret_file(path)] == []
    plain = ("env.py", "tokens.py", "password_reset.py", "environment.yaml", "key.py", "recipes/secretary_birds.py")
    assert [path for path in plain if is_secret_file(path)] == []
