"""The command line: the only place where words become settings. Every command is also a function of the package."""
