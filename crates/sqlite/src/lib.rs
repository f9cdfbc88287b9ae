//! SQLite as this project uses it: pragmas, migrations, one writer with group commit.
