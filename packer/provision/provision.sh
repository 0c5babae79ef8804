#!/usr/bin/env bash
# Makes this machine into the image, step by step. Packer uploads the folder above and runs this.
# With TIDEMARK_ROOT, a folder of a machine that is none of ours, it installs below that and leaves the machine alone.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=${TIDEMARK_ROOT:-}
if [ -z "$root" ] && [ "$(id -u)" != 0 ]; then
  exec sudo bash "$0"
fi
# Programs take an empty one for a mistake.
[ -n "$root" ] || unset TIDEMARK_ROOT

steps=(packages agents tidemark additions seal)
if [ -n "$root" ]; then
  echo "provision: $root is a folder: no packages, no users, no sealing"
  steps=(tidemark)
fi
for step in "${steps[@]}"; do
  begun=$SECONDS
  bash "$here/$step.sh" || { echo "provision: the step $step failed: its last lines above say why" >&2; exit 1; }
  echo "provision: $step took $((SECONDS - begun)) s"
done

# The image's own judgement: everything that is missing, each with its fix.
"$root/usr/local/bin/agent-bootstrap" --root "${root:-/}" doctor --image
rm -rf "$(dirname "$here")"
