//! Automation: tidy, code generation, artefacts.
