#!/usr/bin/env bash
# What jobs expect on an instance: git, Docker with compose and buildx, the AWS CLI; and what boot needs for disks.
set -euo pipefail
# shellcheck disable=SC1091
. "$(dirname "$0")/distribution.sh"

refresh
install_packages
git lfs install --system --skip-repo > /dev/null
