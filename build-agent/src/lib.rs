//! `build-agent`: see `docs/build-agent.md`.
