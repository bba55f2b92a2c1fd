"""`sdnode completion`: the script by which a shell completes commands, options and values.

The scripts are click's, but for two things. Words of a code may stand in the line that is typed, so they are
handed over in a variable and not by env(1), whose arguments all users see. And bash shows, beside each of
several values, what it is: the name of a device, say. What may be offered is complete_values.py's.
"""

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ZshComplete,
    add_completion_class,
)

from . import exit_codes
from .click_commands import Command
from .complete_values import one_of

VARIABLE = "_SDNODE_COMPLETE"
"""By which a shell asks; click's name for it."""
_MENU = "37"
"""COMP_TYPE of bash where the value that is shown is inserted: `menu-complete`."""

_BASH_SCRIPT = (
    """\
%(complete_func)s() {
    local type value help typed word=$COMP_CWORD
    local -a values=() shown=()
    local IFS=$'\\n'
    typed="${COMP_WORDS[*]}"
    while IFS=$'\\t' read -r type value help; do
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain) values+=("$value"); shown+=("$value${help:+  ($help)}") ;;
        esac
    done < <(unset COMP_WORDS COMP_CWORD
        COMP_WORDS=$typed COMP_CWORD=$word %(complete_var)s=bash_complete "$1" 2>/dev/null)
    COMPREPLY=("${values[@]}")
    if (( ${#values[@]} > 1 )) && [[ $COMP_TYPE != """
    + _MENU
    + """ ]]; then
        COMPREPLY=("${shown[@]}")
    fi
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""
)


class _Bash(BashComplete):
    name = "bash"
    source_template = _BASH_SCRIPT

    def format_completion(self, item: CompletionItem) -> str:
        return f"{item.type}\t{item.value}\t{item.help or ''}"


class _Zsh(ZshComplete):
    name = "zsh"
    source_template = ZshComplete.source_template.replace("$(env COMP_WORDS", "$(COMP_WORDS")


class _Fish(FishComplete):
    name = "fish"
    source_template = FishComplete.source_template.replace("(env %(complete_var)s", "(%(complete_var)s")


_SHELLS = {"bash": _Bash, "zsh": _Zsh, "fish": _Fish}


def register_shells() -> None:
    """Have click answer the shells by these classes."""
    for shell in _SHELLS.values():
        add_completion_class(shell)


@click.command(cls=Command)
@click.argument("shell", type=click.Choice([*_SHELLS]), shell_complete=one_of(*_SHELLS))
def completion(shell: str) -> int:
    """Print the completion script of a SHELL: bash, zsh or fish.

    \b
    bash: sdnode completion bash > ~/.local/share/bash-completion/completions/sdnode
    zsh:  sdnode completion zsh > ~/.zfunc/_sdnode  (a directory in $fpath, before compinit)
    fish: sdnode completion fish > ~/.config/fish/completions/sdnode.fish
    """
    from .main import cli

    click.echo(_SHELLS[shell](cli, {}, "sdnode", VARIABLE).source(), nl=False)
    return exit_codes.OK
