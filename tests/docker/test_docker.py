"""What docker/ says, held against the code: variables, commands, packages, and what would break or endanger users."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from cotrain.cli import _parser
from cotrain.tables._datajoint import dj

REPOSITORY = Path(__file__).parents[2]
DOCKER = REPOSITORY / "docker"
TEXTS = sorted(path for path in DOCKER.iterdir() if path.is_file() and path.suffix != ".txt" and path.name[0] != ".")
COMPOSED = ("compose.yaml", "compose.cpu.yaml", "compose.folder.yaml")


def instructions(name="Dockerfile"):
    """(word, rest) of each instruction, continued lines joined."""
    lines = [line for line in (DOCKER / name).read_text().splitlines() if line and not line.startswith("#")]
    whole = "\n".join(lines).replace("\\\n", " ")
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in whole.splitlines()]


def last(word, name="Dockerfile"):
    return [rest for found, rest in instructions(name) if found == word][-1]


def compose(name="compose.yaml"):
    class Loader(yaml.SafeLoader):
        pass

    Loader.add_multi_constructor("!", lambda loader, suffix, node: f"!{suffix}")  # compose's !reset and !override
    return yaml.load((DOCKER / name).read_text(), Loader)


def services():
    return compose()["services"]


def commands_in(path):
    """The arguments of each `cotrain ...` that a reader of a text, or a script, would start."""
    text = path.read_text().replace("\\\n", " ")
    if path.suffix == ".md":
        text = "\n".join(
            block for pair in re.findall(r"```sh\n(.*?)```|`([^`\n]+)`", text, re.DOTALL) for block in pair
        )
    lines = [line.split(" #")[0] for line in text.splitlines() if not line.lstrip().startswith("#")]
    # the last one in a line: `--entrypoint cotrain worker work` starts `cotrain work`
    found = [re.match(r"(?:.*\s)?(?:worker|cotrain) ([a-z].*)", line) for line in lines]
    return [re.split(r"[|;&<>)]", match[1])[0].split() for match in found if match and not is_docker(match)]


def is_docker(match):
    """`docker build --tag cotrain ...` and the like name an image, not the program."""
    return re.search(r"docker (build|save|image)|COMMIT|pg_|mysql|sleep", match.string) is not None


# --- the image ---


def test_base_is_pinned_by_digest():
    base = next(rest for word, rest in instructions() if word == "ARG")
    assert re.fullmatch(r"BASE=[a-z]+:[\w.-]+@sha256:[0-9a-f]{64}", base)
    assert {rest.split()[0] for word, rest in instructions() if word == "FROM"} == {"${BASE}", "python"}


@pytest.mark.parametrize("name", ["Dockerfile", "lab.Dockerfile"])
def test_runs_as_a_numbered_user_who_is_not_root(name):
    user = last("USER", name)
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    # a RUN after it would need rights that this user does not have
    words = [word for word, _ in instructions(name)]
    assert "RUN" not in words[len(words) - words[::-1].index("USER") :]


@pytest.mark.parametrize("word", ["ENTRYPOINT", "CMD", "HEALTHCHECK"])
def test_signals_reach_the_program_since_no_shell_is_between(word):
    assert json.loads(last(word)[last(word).index("[") :])


def test_entrypoint_is_the_installed_program():
    assert json.loads(last("ENTRYPOINT")) == ["cotrain"]
    assert 'entry_points={"console_scripts": ["cotrain=' in (REPOSITORY / "setup.py").read_text()


def test_copied_files_exist_and_dockerignore_lets_them_through():
    let = {line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert all((REPOSITORY / name).exists() for name in let)
    for word, rest in instructions():
        if word == "COPY" and not rest.startswith(". "):
            source = rest.split()[-2]
            assert source in let, rest
    assert let >= {"cotrain", "tables", "recipes", "setup.py", "pyproject.toml", "README.md", "LICENSE"}


def test_requirements_hold_every_dependency_at_a_release_that_it_allows():
    lines = (DOCKER / "requirements.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", f"{name}=={release}") for name, release in pinned.items())
    names = {name.lower().replace("_", "-"): release for name, release in pinned.items()}
    source = (REPOSITORY / "setup.py").read_text()
    listed = re.search(r"DEPENDENCIES = \[\n(.*?)\n\]", source, re.DOTALL)[1]
    wanted = [Requirement(text) for text in re.findall(r'^\s+"([^"]+)"', listed, re.MULTILINE)]
    assert len(wanted) > 10
    for requirement in wanted:
        assert requirement.specifier.contains(names[requirement.name.lower()]), requirement
    assert "s3fs" in names  # DataJoint's way to an S3 store
    assert not [name for name in names if name.startswith(("nvidia-", "cuda-", "triton"))]


def test_the_image_tells_provenance_what_it_is():
    assert last("ENV") == "COTRAIN_IMAGE=cotrain@${COMMIT}"
    assert '"COTRAIN_IMAGE"' in (REPOSITORY / "tables" / "environment.py").read_text()


# --- compose ---


def test_images_of_others_are_pinned_by_release_and_digest():
    images = {name: service["image"] for name, service in services().items() if "build" not in service}
    assert set(images) == {"postgresql", "mysql", "store"}
    for image in images.values():
        assert re.fullmatch(r"[\w./-]+:\d[\w.-]+@sha256:[0-9a-f]{64}", image)


def test_worker_is_stopped_with_time_for_a_checkpoint_and_started_again():
    worker = services()["worker"]
    assert worker["init"] is True
    assert worker["restart"] == "unless-stopped"
    assert re.fullmatch(r"\d+m", worker["stop_grace_period"])
    assert isinstance(worker["entrypoint"], list) and isinstance(worker["command"], list)
    assert worker["depends_on"]["init"]["condition"] == "service_completed_successfully"


def test_init_waits_for_every_server_and_all_servers_have_health_checks():
    waited = services()["init"]["depends_on"]
    assert set(waited) == {"postgresql", "mysql", "store"}
    for name, how in waited.items():
        assert how == {"condition": "service_healthy", "required": False}
        assert services()[name]["healthcheck"]["test"][0] == "CMD"
        assert services()[name]["profiles"] == [name]


def test_nothing_is_published_to_the_world_unless_asked():
    ports = [port for service in services().values() for port in service.get("ports", [])]
    assert len(ports) == 4
    assert all(re.match(r"\$\{\w+:-127\.0\.0\.1\}:", port) for port in ports)


def test_secrets_come_from_files_and_stand_in_no_text():
    for name, service in services().items():
        for variable, value in (service.get("environment") or {}).items():
            if re.search("PASS|SECRET|KEY|TOKEN", variable):
                assert variable.endswith("_FILE") and value.startswith("/run/secrets/"), (name, variable)
    assert all(set(secret) == {"file"} for secret in compose()["secrets"].values())
    for path in TEXTS:
        assert not re.search(
            r"(PASS|PASSWORD|SECRET|secret_key|access_key)\w*\"?\s*[=:] *[\"']?[\w]{3}", path.read_text()
        )


def test_mounted_volumes_and_secrets_are_declared():
    whole = compose()
    for service in whole["services"].values():
        for volume in service.get("volumes", []):
            if isinstance(volume, str):
                assert volume.split(":")[0] in whole["volumes"]
        for secret in service.get("secrets", []):
            assert (secret if isinstance(secret, str) else secret["source"]) in whole["secrets"]


def test_stores_name_the_store_that_the_tables_use():
    stores = json.loads(services()["worker"]["environment"]["DJ_STORES"].replace("${STORE_HOST:-store}", "store"))
    assert stores["default"] in stores
    assert f'"{stores["default"]}"' in (REPOSITORY / "tables" / "connect.py").read_text()
    targets = [secret["target"] for secret in services()["worker"]["secrets"] if isinstance(secret, dict)]
    assert [target.split(".")[1] for target in targets] == [stores["default"]] * 2


def test_changed_services_exist():
    for name in COMPOSED[1:]:
        assert set(compose(name)["services"]) <= set(services())


@pytest.mark.parametrize("backend", ["postgresql", "mysql"])
@pytest.mark.parametrize("change", ["", ":compose.cpu.yaml", ":compose.folder.yaml"])
def test_docker_accepts_the_files(tmp_path, backend, change):
    ours = str(Path(sys.executable).with_name("docker-compose"))
    program = next((words for words in ([ours], ["docker-compose"], ["docker", "compose"]) if _answers(words)), None)
    if program is None:
        pytest.skip("no docker compose here")
    folder = shutil.copytree(DOCKER, tmp_path / "docker")
    (folder / ".env").write_text((folder / "example.env").read_text())
    environment = {**os.environ, "DJ_BACKEND": backend, "COMPOSE_FILE": "compose.yaml" + change}
    done = subprocess.run([*program, "config"], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "variable is not set" not in done.stderr
    found = yaml.safe_load(done.stdout)["services"]
    assert {"worker", "init", "tensorboard", backend} <= set(found)
    worker = found["worker"]
    assert ("deploy" in worker) == ("cpu" not in change)
    assert worker["entrypoint"] == (["cotrain"] if "cpu" in change else ["one-gpu", "cotrain"])
    assert bool(worker["environment"]["DJ_STORES"]) == (len(worker["secrets"]) == 3) == ("folder" not in change)


def _answers(words):
    return shutil.which(words[0]) and not subprocess.run([*words, "version"], capture_output=True).returncode


# --- variables and commands ---


def test_every_variable_exists_in_the_code_or_in_datajoint():
    code = "".join(path.read_text() for room in ("cotrain", "tables") for path in (REPOSITORY / room).rglob("*.py"))
    named = {
        name for path in TEXTS for name in re.findall(r"(?:APPTAINERENV_)?((?:COTRAIN|DJ)_[A-Z_]+)", path.read_text())
    }
    unknown = {name for name in named if f'"{name}"' not in code} - {*dj.settings.ENV_VAR_MAPPING.values(), "DJ_STORES"}
    assert not unknown


def test_every_setting_of_compose_stands_in_the_example():
    named = {name for file in COMPOSED for name in re.findall(r"\$\{([A-Z_]+)", (DOCKER / file).read_text())}
    example = (DOCKER / "example.env").read_text()
    missing = {name for name in named if not re.search(rf"^(# )?{name}=", example, re.MULTILINE)}
    assert missing == {"COMMIT"}  # which is given to the build


COMMANDS = sorted(
    {
        *(tuple(words) for path in TEXTS if path.suffix in (".md", ".sh") for words in commands_in(path)),
        *(tuple(services()[name]["command"]) for name in ("worker", "init")),
    }
)


def test_commands_are_found():
    assert {("work",), ("enqueue", "digits_v1"), ("work", "--until-empty"), ("work", "--forever")} <= set(COMMANDS)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_parses(words):
    _parser().parse_args(words)


# --- the programs ---


def test_secrets_are_made_once_and_the_folder_is_closed(tmp_path):
    script = shutil.copy2(DOCKER / "make_secrets.sh", tmp_path)
    subprocess.run(["sh", script], check=True)
    folder = tmp_path / "secrets"
    made = {path.name: path.read_text() for path in folder.iterdir()}
    assert set(made) == {Path(secret["file"]).name for secret in compose()["secrets"].values()}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o644}
    assert re.fullmatch("[0-9a-f]{48}", made["database_password"])
    keys = json.loads(made["store_identities.json"])["identities"][0]["credentials"][0]
    assert keys == {"accessKey": made["store_access_key"], "secretKey": made["store_secret_key"]}
    assert len(keys["accessKey"]) == 20 and len(keys["secretKey"]) == 48
    subprocess.run(["sh", script], check=True)
    assert made == {path.name: path.read_text() for path in folder.iterdir()}


def one_gpu(folder, *command):
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "GPU_LOCKS": str(folder)}
    return subprocess.Popen(
        ["sh", DOCKER / "one_gpu.sh", *command],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_each_worker_takes_a_gpu_of_its_own_and_frees_it_when_it_is_killed(tmp_path):
    # the program of the driver cannot be had without one
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho GPU-a\necho GPU-b\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    script = "import os; print(os.environ['CUDA_VISIBLE_DEVICES'], flush=True); input()"
    first, second = (one_gpu(tmp_path, sys.executable, "-c", script) for _ in range(2))
    third = None
    try:
        taken = {first: first.stdout.readline().strip(), second: second.stdout.readline().strip()}
        assert set(taken.values()) == {"GPU-a", "GPU-b"}
        none = one_gpu(tmp_path, "true")
        assert "each of these GPUs has a worker" in none.communicate()[1]
        assert none.returncode == 1
        second.send_signal(signal.SIGKILL)
        second.communicate()
        third = one_gpu(tmp_path, sys.executable, "-c", script)
        assert third.stdout.readline().strip() == taken[second]
    finally:
        for process in filter(None, (first, second, third)):
            process.kill()
            process.communicate()


def test_a_container_without_gpus_says_so(tmp_path):
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nexit 9\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    none = one_gpu(tmp_path, "true")
    assert "NVIDIA Container Toolkit" in none.communicate()[1]
    assert none.returncode == 1


def health(**variables):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DJ_")}
    command = [sys.executable, "-S", DOCKER / "health.py"]  # -S: nothing but the standard library is needed
    return subprocess.run(command, env={**environment, **variables}, capture_output=True, text=True)


def test_health_is_whether_the_database_answers():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        assert health(DJ_HOST="127.0.0.1", DJ_PORT=port).returncode == 0
    gone = health(DJ_HOST="127.0.0.1", DJ_PORT=port)
    assert gone.returncode == 1
    assert f"No database answers at 127.0.0.1:{port}" in gone.stderr
    assert health().returncode == 0  # the embedded database belongs to the worker itself


@pytest.mark.parametrize("name", ["one_gpu.sh", "make_secrets.sh", "slurm.sh"])
def test_scripts_are_valid_shell(name):
    shell = (DOCKER / name).read_text().splitlines()[0].removeprefix("#!")
    subprocess.run([shell, "-n", DOCKER / name], check=True)


def test_the_readme_tells_of_every_file():
    told = (DOCKER / "README.md").read_text().split("\n\n")[1]
    assert not [path.name for path in TEXTS if f"`{path.name}`" not in told and path.name != "README.md"]
