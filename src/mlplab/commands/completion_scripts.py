"""The scripts that make a shell ask `mlplab` for completions when Tab is pressed.

The shell expands none of the answers. Where mlplab suggests nothing, files are completed.
"""

BASH = """\
_mlplab() {
    local line=${COMP_LINE:0:COMP_POINT} word prefix reply
    word=${line##* }
    prefix=${word%"${word##*[=:]}"}  # bash completes what follows = and :
    [[ $COMP_WORDBREAKS == *=* ]] || prefix=
    COMPREPLY=()
    while IFS= read -r reply; do
        [[ -n $reply ]] && COMPREPLY+=("${reply#"$prefix"}")
    done < <(COMP_LINE=$COMP_LINE COMP_POINT=$COMP_POINT mlplab -sc query=bash 2> /dev/null)
    [[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace 2> /dev/null
    return 0
}
complete -o default -F _mlplab mlplab
"""
ZSH = """\
_mlplab() {
    local line="${(j: :)words[1,CURRENT-1]} $PREFIX"
    local -a replies=("${(@f)$(COMP_LINE=$line COMP_POINT=${#line} \\
        mlplab -sc query=zsh 2> /dev/null)}")
    if [[ -z $replies[1] ]]; then
        _files
    elif [[ $replies[1] == *= ]]; then
        compadd -S '' -- $replies
    else
        compadd -- $replies
    fi
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
compdef _mlplab mlplab
"""
FISH = """\
function __mlplab_complete
    set -lx COMP_LINE (commandline -cp)
    set -lx COMP_POINT (string length -- $COMP_LINE)
    set -l replies (mlplab -sc query=fish 2> /dev/null)
    if test (count $replies) -gt 0
        printf '%s\\n' $replies
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c mlplab -f -a '(__mlplab_complete)'
"""
INSTALL = {"bash": BASH, "zsh": ZSH, "fish": FISH}
UNINSTALL = {
    "bash": "complete -r mlplab; unset -f _mlplab\n",
    "zsh": "compdef -d mlplab; unfunction _mlplab\n",
    "fish": "complete -c mlplab -e; functions -e __mlplab_complete\n",
}
