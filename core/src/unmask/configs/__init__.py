"""From a YAML file or a command line to a model and its data, with plain errors."""
