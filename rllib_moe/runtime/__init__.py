"""Services of the process: Ray session, files, compiled code, process settings, exit codes, provenance, colors."""
