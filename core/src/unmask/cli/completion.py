"""Shell completion: a few lines per shell that ask ``unmask complete``, which reads metadata only."""

from __future__ import annotations

from unmask.plugins import registry
from unmask.support.arguments import Arguments
from unmask.support.errors import UserError
from unmask.support.nearest import nearest, quoted

_SCRIPTS = {
    "bash": """\
_unmask() {
    local IFS=$'\\n'
    COMPREPLY=($(unmask complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _unmask unmask""",
    "zsh": """\
#compdef unmask
_unmask() {
    local -a found
    found=(${(f)"$(unmask complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)"})
    (( ${#found} )) && compadd -a found || _files
}
compdef _unmask unmask""",
    "fish": """\
complete -c unmask -a '(unmask complete -- (commandline -opc)[2..] (commandline -ct) 2>/dev/null)'""",
}

_PARTS = {
    "--model": "unmask.methods",
    "--data": "unmask.data",
    ".mask": "unmask.masks",
    ".encoder": "unmask.encoders",
    ".predictor": "unmask.predictors",
    ".target": "unmask.targets",
    ".loss": "unmask.losses",
    ".terms": "unmask.terms",
    ".ratio": "unmask.schedules",
}

_OPTIONS = (
    "--config", "--out", "--ckpt_path", "--seed_everything", "--print_config", "--help", "--traceback",
    "--model", "--model.mask", "--model.mask.ratio", "--model.encoder", "--model.predictor", "--model.target",
    "--model.loss", "--data", "--data.batch_size", "--trainer.max_steps", "--trainer.max_epochs",
    "--trainer.accelerator", "--trainer.devices", "--trainer.precision", "--checkpoint_activations", "--compile",
)  # fmt: skip


def run(command: str, arguments: list[str]) -> int:
    """Print a completion script, or what could stand as the last of the given words."""
    if command == "complete":
        print("\n".join(candidates(arguments[1:] if arguments[:1] == ["--"] else arguments)))
        return 0
    parser = Arguments(command, 'A completion script: eval "$(unmask completion bash)", or as your shell has it.')
    parser.add_argument("shell", help="bash, zsh or fish")
    shell = parser.parse_args(arguments).shell
    if shell not in _SCRIPTS:
        near = nearest(shell, _SCRIPTS) or list(_SCRIPTS)
        raise UserError(f"There is no completion for `{shell}`; nearest: {quoted(near)}.")
    print(_SCRIPTS[shell])
    return 0


def candidates(words: list[str]) -> list[str]:
    """What could stand as the last of ``words``, the words after ``unmask``."""
    from unmask.cli import COMMANDS, plugin_commands

    *before, word = words or [""]
    if not before:
        found = [*COMMANDS, *plugin_commands(), "--help", "--version"]
    elif before[0] == "list":
        found = registry.groups()
    elif before[0] == "show":
        found = [component.name for component in registry.components()]
    elif before[0] == "completion":
        found = list(_SCRIPTS)
    elif COMMANDS.get(before[0], ("",))[0] == "unmask.cli.fit":
        found = _values(before[-1]) or (list(_OPTIONS) if word.startswith("-") or not word else [])
    else:
        found = []
    return sorted({choice for choice in found if choice.startswith(word)})


def _values(option: str) -> list[str]:
    """Registered names that may follow ``option``."""
    if option in ("--config", "-c"):
        group: str | None = registry.RECIPES
    elif option == "--ckpt_path":
        return ["last"]
    else:
        group = next((g for part, g in _PARTS.items() if option.startswith("--") and option.endswith(part)), None)
    return [component.name for component in registry.components() if component.group == group]
