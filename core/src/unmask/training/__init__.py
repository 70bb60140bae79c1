"""What a run of the step needs around it: guards, exact resume, the progress bar. Imports no tool."""
