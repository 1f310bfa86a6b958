"""Secrets stay out of the database: passwords and tokens in command lines, error texts and patches."""

from __future__ import annotations

import fnmatch
import os
import re
from typing import Any

MASK = "***"

SHORTEST = 6  # characters of a secret that is looked for by its value: shorter ones are words of any text

# PWD alone is the current folder
NAME = (
    r"(?:pass|passwd|password|passphrase|(?<=[_-])pwd|secret|token|credentials?"
    r"|api[_-]?key|access[_-]?key|secret[_-]?key)"
)
NAMED = re.compile(rf"(?:^|[\W_]){NAME}$", re.IGNORECASE)

# user:password@host, and a token alone before the host; user@host is no secret
URL_PASSWORD = re.compile(r"(?<=://)([^\s/@:'\"]*):([^\s/@'\"]+)@")
URL_TOKEN = re.compile(r"(?<=://)[\w-]{20,}@")
TOKENS = re.compile(
    r"\b(?:A[KS]IA[0-9A-Z]{16}|gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{20,}|hf_[A-Za-z0-9]{20,}"
    r"|xox[abprs]-[\w-]{10,}|sk-[\w-]{20,}|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]*)"
)
BEARER = re.compile(r"\b((?:Bearer|Basic)\s+)[\w.~+/=-]{8,}")
PRIVATE_KEY = re.compile(r"(-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(?=-----END|\Z)", re.DOTALL)

QUOTED = r"\"[^\"\n]+\"|'[^'\n]+'"
ASSIGNED = rf"(?<![A-Za-z0-9])((?:[\w-]*[_-])?{NAME}[\"']?(?:=(?!\s)|\s+=\s+|\s*(?:=>|:)\s*))"
OPTION = re.compile(rf"(--?(?:[\w-]*[_-])?{NAME}\s+)({QUOTED}|[^\s\"'-]\S*)", re.IGNORECASE)
VALUE = re.compile(rf"{ASSIGNED}({QUOTED}|[^\s\"',;&)}}\]]+)", re.IGNORECASE)
LITERAL = re.compile(rf"{ASSIGNED}({QUOTED})", re.IGNORECASE)

SECRET_FILES = (
    *(".env", ".env.*", "*.env", "*.pem", "*.key", "*.pfx", "*.p12", "*.kdbx", "*.jks", "id_rsa*", "id_ed25519*"),
    *(".netrc", ".pgpass", ".my.cnf", ".htpasswd", ".git-credentials", ".secrets", ".ssh", ".aws", ".docker"),
    *("secrets", "*credential*", "*password*", "*secret*", "dj_local_conf.json", "datajoint.json"),
)
CODE_FILES = (".py", ".pyx", ".c", ".h", ".cpp", ".cu", ".js", ".ts", ".ipynb")


def masked(text: str, *, code: bool = False) -> str:
    """A text in which `***` stands for what looks like a secret.

    That is: passwords and tokens in URLs; values of options and settings whose name ends in password, token, api_key
    and the like; tokens of well-known shapes; private keys; and the values of secrets that this process was given in
    environment variables of such names.

    Args:
        text: A command line, an error text, a traceback, or a patch.
        code: It is program text: only values in quotes are masked, as `token = next(tokens)` is no secret.

    >>> masked("cotrain work --token abc123 postgresql://ann:hunter2@db/lab DJ_PASS=hunter2")
    'cotrain work --token *** postgresql://ann:***@db/lab DJ_PASS=***'
    """
    for secret in _given():
        text = text.replace(secret, MASK)
    text = PRIVATE_KEY.sub(rf"\1{MASK}", text)
    text = URL_PASSWORD.sub(rf"\1:{MASK}@", text)
    text = URL_TOKEN.sub(f"{MASK}@", text)
    text = TOKENS.sub(MASK, text)
    if code:
        return LITERAL.sub(_in_quotes, text)
    text = BEARER.sub(rf"\1{MASK}", text)
    text = OPTION.sub(_in_quotes, text)
    return VALUE.sub(_in_quotes, text)


def mask_failure(jobs: Any, key: dict[str, Any]) -> None:
    """Mask the error text and the traceback that DataJoint has stored of a failed job."""
    for row in (jobs & key & "status = 'error'").to_dicts():
        texts = {name: masked(row[name] or "") for name in ("error_message", "error_stack")}
        jobs.update1({**key, **texts})


def is_secret_file(path: str) -> bool:
    """Whether a file, or a folder above it, has a name under which people keep secrets."""
    steps = [step.lower() for step in path.split("/")]
    of_code = steps[-1].endswith(CODE_FILES)
    patterns = SECRET_FILES[: SECRET_FILES.index("*credential*")] if of_code else SECRET_FILES
    return any(fnmatch.fnmatchcase(step, pattern) for step in steps for pattern in patterns)


def is_secret_name(name: str) -> bool:
    """Whether a variable of this name holds a secret."""
    return NAMED.search(name) is not None


def _given() -> list[str]:
    """The secrets of this process, longest first: one may hold another."""
    values = {value for name, value in os.environ.items() if is_secret_name(name) and len(value) >= SHORTEST}
    return sorted(values, key=len, reverse=True)


def _in_quotes(found: re.Match[str]) -> str:
    value = found[2]
    quote = value[0] if value[0] in "\"'" else ""
    return f"{found[1]}{quote}{MASK}{quote}"
