"""The subcommands of `arsg`, one a file, each with `run(arguments) -> exit code`."""
