#!/usr/bin/env bash
# The lab's own addition to its image (IMAGE_SCRIPT): what jobs of the demo use beside what every image has.
set -euo pipefail
DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends skopeo > /dev/null
