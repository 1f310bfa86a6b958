#!/bin/sh
# Make the secrets that compose.yaml reads, where they are missing: sh docker/make_secrets.sh
#
# The folder is closed to others. The files in it are not: Docker mounts each by itself, and the servers in the
# containers read them as users of their own.
set -eu

folder=$(dirname "$0")/secrets
mkdir -p "$folder"
chmod 700 "$folder"
cd "$folder"

random() { # characters that need no quoting anywhere
    od -An -N24 -tx1 /dev/urandom | tr -d ' \n'
}

[ -s database_password ] || random >database_password
if [ ! -s store_identities.json ]; then
    random | cut -c1-20 | tr -d '\n' >store_access_key
    random >store_secret_key
    printf '{"identities": [{"name": "cotrain", "credentials": [{"accessKey": "%s", "secretKey": "%s"}],\n' \
        "$(cat store_access_key)" "$(cat store_secret_key)" >store_identities.json
    printf ' "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}\n' >>store_identities.json
fi
chmod 644 database_password store_access_key store_secret_key store_identities.json
