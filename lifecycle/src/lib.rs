//! An instance's states and the reasons to retire it, spoken by scaler and agent-bootstrap. Pure.
