//! `build-server`: see `docs/build-server.md`.
