# bash completion for flashrack. The program itself is asked what it knows, so that this never lags behind it.
_flashrack_commands() {
    "$1" --help 2>/dev/null | sed -nE 's/^  ([a-z][a-z-]*)( [a-z][a-z-]*)? .*/\1\2/p'
}

_flashrack() {
    local program=${COMP_WORDS[0]} current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}
    local command=${COMP_WORDS[1]-} second=${COMP_WORDS[2]-}
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        mapfile -t COMPREPLY < <(compgen -W "$(_flashrack_commands "$program" | cut -d' ' -f1) --help --version" -- "$current")
        return
    fi
    if [ "$COMP_CWORD" -eq 2 ]; then
        local seconds
        seconds=$(_flashrack_commands "$program" | sed -n "s/^$command //p")
        if [ -n "$seconds" ]; then
            mapfile -t COMPREPLY < <(compgen -W "$seconds" -- "$current")
            return
        fi
    fi
    case $previous in
        --finish) mapfile -t COMPREPLY < <(compgen -W "lk upgrade" -- "$current"); return ;;
        --recipe) mapfile -t COMPREPLY < <(compgen -W "x5-backup x5-identify x5-restore x5-upgrade" -- "$current"); return ;;
        --accept) mapfile -t COMPREPLY < <(compgen -W "scan usb" -- "$current"); return ;;
        --type) mapfile -t COMPREPLY < <(compgen -W "port job prompt log phone" -- "$current"); return ;;
        --state)
            mapfile -t COMPREPLY < <(compgen -W "queued waiting running prompt paused succeeded failed cancelled interrupted" \
                -- "$current")
            return ;;
    esac
    if [[ $current == -* ]]; then
        local words=("$command")
        _flashrack_commands "$program" | grep -qx -- "$command $second" && words+=("$second")
        mapfile -t COMPREPLY < <(compgen -W "$("$program" "${words[@]}" --help 2>/dev/null | grep -oE -- '--[a-z]+(-[a-z]+)*' |
            sort -u)" -- "$current")
        return
    fi
    mapfile -t COMPREPLY < <(compgen -f -- "$current")
}
complete -o filenames -F _flashrack flashrack
