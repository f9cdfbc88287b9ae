//! What an integrator needs, re-exported.
