"""What every other room stands on: parameters, errors, files, console output."""
