"""What `marscf new` copies: a flow that runs, its YAML and its test. They are tested as they stand here."""
