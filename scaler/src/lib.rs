//! `scaler`: see `docs/scaler.md`.
