"""Carry out the Dockerfile's steps in a chroot, for machines without a Docker daemon.

    sudo python tests/docker/build_without_docker.py /tmp/image [--certificates FILE] [--build-arg NAME=VALUE ...]

Each stage becomes a folder below the one that is named: the base is made by debootstrap of the same Debian release,
and FROM, ARG, ENV, COPY, RUN, USER and WORKDIR do what Docker does, with the build context that .dockerignore leaves.
Layers and caches of steps are not imitated; HEALTHCHECK, ENTRYPOINT, CMD and LABEL are read by tests alone.
Needs root, debootstrap and about 15 GB.
"""

from __future__ import annotations

import argparse
import glob
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # of the base images
LEFT_OUT = {"HEALTHCHECK", "ENTRYPOINT", "CMD", "LABEL"}


@dataclass
class Stage:
    """A folder that becomes the image's file system, and what holds for the steps to come."""

    root: Path
    variables: dict[str, str] = field(default_factory=dict)
    arguments: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    user: str = "0:0"


def tell(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """Each instruction with what follows it; comments are gone and continued lines joined."""
    lines = [line for line in dockerfile.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    whole = "\n".join(lines).replace("\\\n", " ")
    return [(line.split(None, 1)[0].upper(), line.split(None, 1)[1].strip()) for line in whole.splitlines()]


def context(folder: Path) -> Path:
    """A copy of what .dockerignore lets through: here, names after `!` alone."""
    shutil.rmtree(folder, ignore_errors=True)
    for line in (REPOSITORY / ".dockerignore").read_text().splitlines():
        if line.startswith("!"):
            source, target = REPOSITORY / line[1:], folder / line[1:]
            target.parent.mkdir(parents=True, exist_ok=True)
            hidden = shutil.ignore_patterns("__pycache__")
            if source.is_dir():
                shutil.copytree(source, target, symlinks=True, ignore=hidden)
            else:
                shutil.copy2(source, target)
    return folder


def expand(text: str, stage: Stage) -> str:
    """Replace $NAME and ${NAME}."""
    known = {**stage.arguments, **stage.variables}
    return re.sub(r"\$\{?(\w+)\}?", lambda found: known.get(found[1], ""), text)


def options_of(text: str) -> tuple[dict[str, list[str]], str]:
    """The `--name=value` in front of an instruction, and the rest."""
    options: dict[str, list[str]] = {}
    while found := re.match(r"--(\w+)=(\S+)\s+", text):
        options.setdefault(found[1], []).append(found[2])
        text = text[found.end() :]
    return options, text


def copy(text: str, stage: Stage, stages: dict[str, Stage], sources: Path) -> None:
    options, rest = options_of(text)
    *names, target = expand(rest, stage).split()
    start = stages[options["from"][0]].root if "from" in options else sources
    into = stage.root / target.lstrip("/")
    for name in names:
        for found in glob.glob(str(start / name.lstrip("/"))):
            if Path(found).is_dir():
                shutil.copytree(found, into, symlinks=True, dirs_exist_ok=True)
            else:
                into.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(found, into)
                into.chmod(int(options["chmod"][0], 8) if "chmod" in options else 0o644)


def run(text: str, stage: Stage, stages: dict[str, Stage], host: dict[str, str]) -> None:
    options, command = options_of(text)
    mounted = []
    for mount in options.get("mount", []):
        parts = dict(part.split("=") for part in mount.split(","))
        if parts["type"] == "bind":
            target = stage.root / parts["target"].lstrip("/")
            target.mkdir(parents=True, exist_ok=True)
            source = stages[parts["from"]].root / parts["source"].lstrip("/")
            subprocess.run(["mount", "--bind", source, target], check=True)
            mounted.append(target)
    environment = {"HOME": "/root", **host}
    environment |= {**stage.arguments, **stage.variables}
    begun = time.monotonic()
    try:
        shell = [
            shutil.which("chroot") or "chroot",
            f"--userspec={stage.user}",
            stage.root,
            "/bin/sh",
            "-c",
            f"cd {stage.folder} && {command}",
        ]
        subprocess.run(shell, check=True, env=environment, stdin=subprocess.DEVNULL)
    finally:
        for target in mounted:
            subprocess.run(["umount", target], check=True)
            target.rmdir()
    tell(f"--- {time.monotonic() - begun:.0f} s\n")


def begin(text: str, stages: dict[str, Stage], top: Path, arguments: dict[str, str]) -> Stage:
    """A new stage: of a Debian release, or a copy of an earlier one."""
    base, _, name = expand(text, Stage(top, arguments)).partition(" AS ")
    root = top / (name or "image")
    if base in stages:
        origin = stages[base]
        subprocess.run(["cp", "--archive", "--one-file-system", "--reflink=auto", f"{origin.root}/.", root], check=True)
        stage = Stage(root, dict(origin.variables), {}, origin.folder, origin.user)
    else:
        suite = re.fullmatch(r"debian:(\w+)-slim@sha256:\w{64}", base)
        assert suite, f"the base should be a slim Debian with its digest, found {base}"
        subprocess.run(["debootstrap", "--variant=minbase", suite[1], root], check=True, stdout=subprocess.DEVNULL)
        stage = Stage(root, {"PATH": PATH})
    return stage


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="is made, and must not exist")
    parser.add_argument("--certificates", type=Path, help="file of certificates, where the network has its own")
    parser.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE")
    options = parser.parse_args()
    if "_MOUNTS_OF_OUR_OWN" not in os.environ:  # so that none stays behind, whatever happens
        os.environ["_MOUNTS_OF_OUR_OWN"] = "1"
        os.execvp("unshare", ["unshare", "--mount", sys.executable, *sys.argv])
    options.folder.mkdir(parents=True)
    sources = context(options.folder / "context")
    given = dict(argument.split("=", 1) for argument in options.build_arg)
    stages: dict[str, Stage] = {}
    arguments: dict[str, str] = {}
    stage: Stage | None = None
    host = {"PIP_CERT": "/certificates.pem"} if options.certificates else {}
    for word, text in instructions((REPOSITORY / "docker/Dockerfile").read_text()):
        tell(word, text)
        if word == "ARG":
            name, _, default = text.partition("=")
            (stage.arguments if stage else arguments)[name] = given.get(name, default)
        elif word == "FROM":
            stage = begin(text, stages, options.folder, arguments)
            stages[stage.root.name] = stage
            shutil.copy2("/etc/resolv.conf", stage.root / "etc")
            for place in ("proc", "dev"):
                subprocess.run(["mount", "--rbind", f"/{place}", stage.root / place], check=True)
            if options.certificates:
                shutil.copy2(options.certificates, stage.root / "certificates.pem")
        elif stage is None:
            raise ValueError(f"{word} stands before FROM")
        elif word == "ENV":
            pairs = (pair.partition("=") for pair in shlex.split(expand(text, stage)))
            stage.variables |= {name: value for name, _, value in pairs}
        elif word == "WORKDIR":
            stage.folder = text
            (stage.root / text.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif word == "USER":
            stage.user = text
        elif word == "COPY":
            copy(text, stage, stages, sources)
        elif word == "RUN":
            run(text, stage, stages, host)
        elif word not in LEFT_OUT:
            raise ValueError(f"{word} is not known here")
    assert stage
    (options.folder / "environment.json").write_text(json.dumps(stage.variables, indent=1))
    tell(f"The image lies in {stage.root}; run in it: chroot --userspec={stage.user} {stage.root} ...")
    return 0


if __name__ == "__main__":
    sys.exit(main())
