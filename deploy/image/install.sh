#!/bin/sh
# Install the distribution of the working directory for an image: install.sh BUILD TARGET EXTRAS
#   BUILD   a virtual environment with pip
#   TARGET  the virtual environment of the image, without pip
# Secrets of the build (optional): /run/secrets/pip_index_url, the package index; /run/secrets/pip_ca, certificates
# in PEM format that are trusted beside the system's.
set -eu
build=$1 target=$2 extras=$3 secrets=${SECRETS:-/run/secrets}

if [ -s "$secrets/pip_index_url" ]; then
    PIP_INDEX_URL=$(cat "$secrets/pip_index_url")
    export PIP_INDEX_URL
fi
if [ -s "$secrets/pip_ca" ]; then
    PIP_CERT=$(mktemp)
    cat "$("$build/bin/python" -c 'from pip._vendor import certifi; print(certifi.where())')" "$secrets/pip_ca" >"$PIP_CERT"
    [ ! -s /etc/ssl/certs/ca-certificates.crt ] || cat /etc/ssl/certs/ca-certificates.crt >>"$PIP_CERT"
    export PIP_CERT
fi

"$build/bin/python" -m pip --python "$target/bin/python" install --no-cache-dir --no-compile -c constraints.txt ".[$extras]"

# The packages' own tests are no part of an image, nor are the sources of compiled modules and the second backend of
# zstandard, for PyPy.
find "$target" -type d -name tests -prune -exec rm -rf {} +
find "$target" -type f \( -name '*.pyx' -o -name '*.pxd' -o -name '*.c' -o -name '*.h' \) -delete
rm -f "$target"/lib/python3.*/site-packages/zstandard/*cffi*
# Compile what a start and a check import, and nothing else: the rest is compiled if it is ever imported.
DEEPCOMPRESS_STATE_URL=memory:// "$target/bin/python" -c 'import deepcompress_service.app, deepcompress_service.cli.app'
"$target/bin/deepcompress" demo --json >/dev/null
