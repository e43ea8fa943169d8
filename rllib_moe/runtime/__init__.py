"""Services of the process: Ray session, files, compiled code, process settings, commands, provenance, colors."""
