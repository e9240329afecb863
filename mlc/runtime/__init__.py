"""What loads and calls compiled code: executables, bindings of symbolic sizes, packages."""
