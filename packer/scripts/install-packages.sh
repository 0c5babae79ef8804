#!/usr/bin/env bash
# What jobs expect on an instance: git, Docker with compose and buildx, and the AWS CLI.
set -euo pipefail

if [ -n "${TIDEMARK_ROOT:-}" ]; then
  echo "install-packages: left out, $TIDEMARK_ROOT is a folder of a machine that is none of ours"
  exit 0
fi
# A fresh instance may still be busy with its own first boot.
cloud-init status --wait > /dev/null || true
export DEBIAN_FRONTEND=noninteractive
sudo -E apt-get update -qq
sudo -E apt-get install -qq -y --no-install-recommends \
  awscli ca-certificates curl docker-buildx docker-cli docker-compose docker.io git git-lfs jq openssh-client unzip zip > /dev/null
sudo apt-get clean
