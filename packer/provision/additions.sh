#!/usr/bin/env bash
# A script of the image's owner (IMAGE_SCRIPT), as root, after everything of ours is in place.
set -euo pipefail
script=$(dirname "$0")/../owner-script
if [ -f "$script" ]; then
  chmod +x "$script"
  "$script"
fi
