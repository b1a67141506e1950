# bash completion of moxctl. Written by `cargo xtask man`.
_moxctl() {
    local at=moxctl before= word i
    for ((i = 1; i < COMP_CWORD; i++)); do
        word="${COMP_WORDS[i]}"
        case "$before" in
            "--ca" | "--certificate" | "--days" | "--dir" | "--expires" | "--fingerprint" | "--for" | "--format" | "--into" | "--ip" | "--limit" | "--mailbox" | "--member" | "--message" | "--messages" | "--only" | "--password-file" | "--port-offset" | "--post" | "--protocols" | "--quoting" | "--rate" | "--since" | "--socket" | "--storage" | "--then" | "--tls" | "--user" | "--without") before=; continue ;;
        esac
        before="$word"
        case "$at $word" in
            "moxctl" | "moxctl localserve" | "moxctl status" | "moxctl reload" | "moxctl stop" | "moxctl config" | "moxctl config check" | "moxctl domain" | "moxctl domain add" | "moxctl domain list" | "moxctl domain show" | "moxctl domain rm" | "moxctl domain enable" | "moxctl domain disable" | "moxctl account" | "moxctl account add" | "moxctl account list" | "moxctl account show" | "moxctl account rm" | "moxctl account enable" | "moxctl account disable" | "moxctl account capabilities" | "moxctl account export" | "moxctl account import" | "moxctl account import mbox" | "moxctl account import maildir" | "moxctl account import imap" | "moxctl account retention" | "moxctl account undelete" | "moxctl account verify" | "moxctl address" | "moxctl address add" | "moxctl address list" | "moxctl address show" | "moxctl address enable" | "moxctl address disable" | "moxctl address rm" | "moxctl alias" | "moxctl alias add" | "moxctl alias list" | "moxctl alias show" | "moxctl alias set" | "moxctl alias member" | "moxctl alias member add" | "moxctl alias member rm" | "moxctl alias rm" | "moxctl alias enable" | "moxctl alias disable" | "moxctl queue" | "moxctl queue list" | "moxctl queue show" | "moxctl quota" | "moxctl quota set" | "moxctl quota list" | "moxctl quota show" | "moxctl quota rm" | "moxctl password" | "moxctl password set" | "moxctl apppassword" | "moxctl apppassword add" | "moxctl apppassword list" | "moxctl apppassword rm" | "moxctl loginkey" | "moxctl loginkey add" | "moxctl loginkey list" | "moxctl loginkey rm" | "moxctl login" | "moxctl login list" | "moxctl abuse" | "moxctl abuse list" | "moxctl abuse clear") at="$at $word" ;;
        esac
    done
    local words=
    case "$before" in
        "--ca") COMPREPLY=($(compgen -f -- "${COMP_WORDS[COMP_CWORD]}")); return ;;
        "--certificate") COMPREPLY=($(compgen -f -- "${COMP_WORDS[COMP_CWORD]}")); return ;;
        "--days") COMPREPLY=($(compgen -f -- "${COMP_WORDS[COMP_CWORD]}")); return ;;
        "--dir") COMPREPLY=($(compgen -f -- "${COMP_WORDS[COMP_CWORD]}")); return ;;
        "--expires") COMPREPLY=($(compgen -f -- "${COMP_WORDS[COMP_CWORD]}")); return ;;
        "--fingerprint") COMPREPLY=($(compgen -f -- "${COMP_WORDS[COMP_CWORD]}")); return ;;
        "--for") words="imap submission" ;;
        "--format") words="mbox maildir tar" ;;
        "--into") COMPREPLY=($(compgen -f -- "${COMP_WORDS[COMP_CWORD]}")); return ;;
        "--ip") COMPREPLY=($(compgen -f -- "${COMP_WORDS[COMP_CWORD]}")); return ;;
        "--limit") COMPREPLY=($(compgen -f -- "${COMP_WORDS[COMP_CWORD]}")); return ;;
        "--mailbox") COMPREPLY=($(compgen -f -- "${COMP_WORDS[COMP_CWORD]}")); return ;;
        "--member") COMPREPLY=($(compgen -f -- "${COMP_WORDS[COMP_CWORD]}")); return ;;
        "--message") COMPREPLY=($(compgen -f -- "${COMP_WORDS[COMP_CWORD]}")); return ;;
        "--messages") COMPREPLY=($(compgen -f -- "${COMP_WORDS[COMP_CWORD]}")); return ;;
        "--only") COMPREPLY=($(compgen -f -- "${COMP_WORDS[COMP_CWORD]}")); return ;;
        "--password-file") COMPREPLY=($(compgen -f -- "${COMP_WORDS[COMP_CWORD]}")); return ;;
        "--port-offset") COMPREPLY=($(compgen -f -- "${COMP_WORDS[COMP_CWORD]}")); return ;;
        "--post") words="members anyone" ;;
        "--protocols") words="imap submission" ;;
        "--quoting") words="mboxrd mboxo mboxcl2" ;;
        "--rate") COMPREPLY=($(compgen -f -- "${COMP_WORDS[COMP_CWORD]}")); return ;;
        "--since") COMPREPLY=($(compgen -f -- "${COMP_WORDS[COMP_CWORD]}")); return ;;
        "--socket") COMPREPLY=($(compgen -f -- "${COMP_WORDS[COMP_CWORD]}")); return ;;
        "--storage") COMPREPLY=($(compgen -f -- "${COMP_WORDS[COMP_CWORD]}")); return ;;
        "--then") words="expunge trash" ;;
        "--tls") words="implicit starttls none" ;;
        "--user") COMPREPLY=($(compgen -f -- "${COMP_WORDS[COMP_CWORD]}")); return ;;
        "--without") COMPREPLY=($(compgen -f -- "${COMP_WORDS[COMP_CWORD]}")); return ;;
        *)
            case "$at" in
                "moxctl") words="localserve status reload stop config domain account address alias queue quota password apppassword loginkey login abuse --socket --dir --json" ;;
                "moxctl localserve") words="--ip --port-offset --quiet --wait-ready --socket --dir --json" ;;
                "moxctl status") words="--socket --dir --json" ;;
                "moxctl reload") words="--socket --dir --json" ;;
                "moxctl stop") words="--socket --dir --json" ;;
                "moxctl config") words="check --socket --dir --json" ;;
                "moxctl config check") words="--socket --dir --json" ;;
                "moxctl domain") words="add list show rm enable disable --socket --dir --json" ;;
                "moxctl domain add") words="--socket --dir --json" ;;
                "moxctl domain list") words="--socket --dir --json" ;;
                "moxctl domain show") words="--socket --dir --json" ;;
                "moxctl domain rm") words="--socket --dir --json" ;;
                "moxctl domain enable") words="--socket --dir --json" ;;
                "moxctl domain disable") words="--socket --dir --json" ;;
                "moxctl account") words="add list show rm enable disable capabilities export import retention undelete verify --socket --dir --json" ;;
                "moxctl account add") words="--socket --dir --json" ;;
                "moxctl account list") words="--socket --dir --json" ;;
                "moxctl account show") words="--socket --dir --json" ;;
                "moxctl account rm") words="--socket --dir --json" ;;
                "moxctl account enable") words="--socket --dir --json" ;;
                "moxctl account disable") words="--socket --dir --json" ;;
                "moxctl account capabilities") words="--without --all --socket --dir --json" ;;
                "moxctl account export") words="--format --socket --dir --json" ;;
                "moxctl account import") words="mbox maildir imap --socket --dir --json" ;;
                "moxctl account import mbox") words="--quoting --mailbox --skip-duplicates --again --rate --socket --dir --json" ;;
                "moxctl account import maildir") words="--mailbox --skip-duplicates --again --rate --socket --dir --json" ;;
                "moxctl account import imap") words="--user --password-file --tls --insecure --ca --only --mailbox --skip-duplicates --again --rate --socket --dir --json" ;;
                "moxctl account retention") words="--days --then --off --socket --dir --json" ;;
                "moxctl account undelete") words="--list --all --message --mailbox --since --into --socket --dir --json" ;;
                "moxctl account verify") words="--socket --dir --json" ;;
                "moxctl address") words="add list show enable disable rm --socket --dir --json" ;;
                "moxctl address add") words="--socket --dir --json" ;;
                "moxctl address list") words="--socket --dir --json" ;;
                "moxctl address show") words="--socket --dir --json" ;;
                "moxctl address enable") words="--socket --dir --json" ;;
                "moxctl address disable") words="--socket --dir --json" ;;
                "moxctl address rm") words="--socket --dir --json" ;;
                "moxctl alias") words="add list show set member rm enable disable --socket --dir --json" ;;
                "moxctl alias add") words="--member --post --list-members=yes --list-members=no --list-members --from=yes --from=no --from --socket --dir --json" ;;
                "moxctl alias list") words="--socket --dir --json" ;;
                "moxctl alias show") words="--socket --dir --json" ;;
                "moxctl alias set") words="--post --list-members=yes --list-members=no --list-members --from=yes --from=no --from --socket --dir --json" ;;
                "moxctl alias member") words="add rm --socket --dir --json" ;;
                "moxctl alias member add") words="--socket --dir --json" ;;
                "moxctl alias member rm") words="--socket --dir --json" ;;
                "moxctl alias rm") words="--socket --dir --json" ;;
                "moxctl alias enable") words="--socket --dir --json" ;;
                "moxctl alias disable") words="--socket --dir --json" ;;
                "moxctl queue") words="list show --socket --dir --json" ;;
                "moxctl queue list") words="--socket --dir --json" ;;
                "moxctl queue show") words="--socket --dir --json" ;;
                "moxctl quota") words="set list show rm --socket --dir --json" ;;
                "moxctl quota set") words="--storage --messages --socket --dir --json" ;;
                "moxctl quota list") words="--socket --dir --json" ;;
                "moxctl quota show") words="--socket --dir --json" ;;
                "moxctl quota rm") words="--socket --dir --json" ;;
                "moxctl password") words="set --socket --dir --json" ;;
                "moxctl password set") words="--socket --dir --json" ;;
                "moxctl apppassword") words="add list rm --socket --dir --json" ;;
                "moxctl apppassword add") words="--for --expires --socket --dir --json" ;;
                "moxctl apppassword list") words="--socket --dir --json" ;;
                "moxctl apppassword rm") words="--socket --dir --json" ;;
                "moxctl loginkey") words="add list rm --socket --dir --json" ;;
                "moxctl loginkey add") words="--certificate --fingerprint --protocols --expires --socket --dir --json" ;;
                "moxctl loginkey list") words="--socket --dir --json" ;;
                "moxctl loginkey rm") words="--socket --dir --json" ;;
                "moxctl login") words="list --socket --dir --json" ;;
                "moxctl login list") words="--limit --socket --dir --json" ;;
                "moxctl abuse") words="list clear --socket --dir --json" ;;
                "moxctl abuse list") words="--socket --dir --json" ;;
                "moxctl abuse clear") words="--all --socket --dir --json" ;;
            esac ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _moxctl moxctl
