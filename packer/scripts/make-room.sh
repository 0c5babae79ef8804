#!/usr/bin/env bash
# A folder for what Packer uploads.
set -euo pipefail
rm -rf "${TIDEMARK_ROOT:-}/tmp/tidemark"
mkdir -p "${TIDEMARK_ROOT:-}/tmp/tidemark"
