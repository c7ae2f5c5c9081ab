#!/usr/bin/env bash
# The whole pipeline on this machine, and proof that it works: private servers, a fresh build, two apps, four
# endpoints, the six changes published to RabbitMQ, and every delivery looked at. Exits 0 only if everything it says
# happened. Without a terminal it ends by itself; with one it keeps the portal open until Ctrl-C.
set -euo pipefail
# shellcheck source=deploy/local/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=deploy/local/stage.sh
. "$here/stage.sh"

readonly patience=60

# A ladder that one can watch: about 1, 2, 4, 4, 4 seconds.
export NUNCIO_RETRY_FIRST=1s NUNCIO_RETRY_FACTOR=2 NUNCIO_RETRY_CEILING=4s NUNCIO_RETRY_ATTEMPTS=6
export NUNCIO_LOG=${NUNCIO_LOG:-info} NUNCIO_LOG_FORMAT=json

fail() {
    printf '\n%s✗ %s%s\n' "$red" "$*" "$plain" >&2
    if [[ -e $stage/nuncio.log ]]; then
        printf '%sthe end of the log of nuncio:%s\n' "$dim" "$plain" >&2
        tail -n 25 "$stage/nuncio.out" "$stage/nuncio.log" >&2
    fi
    exit 1
}

# expect WORDS COMMAND…: the command must succeed in time.
expect() {
    local words=$1
    shift
    within "$patience" "$@" || fail "not within $patience s: $words"
    ok "$words"
}

# ---- the REST API ---------------------------------------------------------------------------------------------------

# api VERB PATH [JSON]: prints the body of a success.
api() {
    local arguments=(-sS --max-time 20 -X "$1" -H "Authorization: Bearer $token" -w '\n%{http_code}')
    if (($# > 2)); then
        arguments+=(-H 'Content-Type: application/json' -d "$3")
    fi
    local answer
    answer=$(curl "${arguments[@]}" "http://$NUNCIO_LISTEN/api/v1$2") || fail "$1 $2: no answer"
    [[ ${answer##*$'\n'} == 2* ]] || fail "$1 $2: $answer"
    printf '%s\n' "${answer%$'\n'*}"
}

field() { jq -er ".$1"; }

# create_endpoint APP NAME: sets `<name>_endpoint`, `<name>_port` and `<name>_secret`, and says so.
create_endpoint() {
    local app=$1 name=$2 id
    free_port
    id=$(api POST "/app/$app/endpoint" "{\"url\":\"http://127.0.0.1:$port/$name\",\"description\":\"$name\"}" | field id)
    printf -v "${name}_endpoint" '%s' "$id"
    printf -v "${name}_port" '%s' "$port"
    printf -v "${name}_secret" '%s' "$(api GET "/app/$app/endpoint/$id/secret" | field key)"
    ok "$app has $bold$name$plain at http://127.0.0.1:$port/$name $dim$id$plain"
}

# ---- receivers ------------------------------------------------------------------------------------------------------

# receive NAME [FLAGS…]: `nuncio listen` where that endpoint points; one JSON line a delivery in NAME.out.
receive() {
    local name=$1 port_name=$1_port secret_name=$1_secret
    shift
    spawn "$name" "$nuncio_bin" listen --listen "127.0.0.1:${!port_name}" --secret "${!secret_name}" --json "$@"
    within 20 port_in_use "${!port_name}" || fail "nuncio listen did not start: $(cat "$stage/$name.log")"
}

deliveries() { cat "$stage/$1.out"; }

# The bodies of what NAME received, verified and answered with 200, sorted.
accepted_bodies() { deliveries "$1" | jq -r 'select(.verified == true and .status == 200) | .body' | sort; }

received_all_six() { [[ $(accepted_bodies "$1") == "$expected" ]]; }
received_count() { (($(deliveries "$1" | wc -l) == $2)); }
was_retried() { deliveries "$1" | jq -es 'map(select(.status == 500)) | group_by(.id) | any(length > 1)' >/dev/null; }

# ---- publishing -----------------------------------------------------------------------------------------------------

# publish APP CHANGE ID: through RabbitMQ, with a publisher confirm.
publish() {
    local message
    message=$("$nuncio_bin" publish --app "$1" "$2" "$3" 2>"$stage/publish.log") ||
        fail "nuncio publish $2: $(cat "$stage/publish.log")"
    ok "$(printf '%-20s %-28s %s%s%s' "$2" "$3" "$dim" "$message" "$plain")"
}

# ---- the demonstration ----------------------------------------------------------------------------------------------

printf '%sNuncio: webhooks out of RabbitMQ%s\n' "$bold" "$plain"
open_stage demo
start_nuncio
ok "nuncio all is ready on http://$NUNCIO_LISTEN"
token=$("$nuncio_bin" token)

heading 'Two apps, four endpoints'
acme=$(api POST /app '{"name":"Acme","uid":"acme"}' | field id)
api POST /app '{"name":"Globex","uid":"globex"}' >/dev/null
create_endpoint acme billing
create_endpoint acme crm
create_endpoint acme flaky
create_endpoint globex other
# shellcheck disable=SC2154 # create_endpoint sets it
receive billing
receive crm
receive other
receive flaky --status 500
note 'flaky answers 500 to everything for now'

heading 'Six changes at Acme, published to RabbitMQ'
user=user_$(head -c 12 /dev/urandom | od -An -tx1 | tr -d ' \n')
org=org_$(head -c 12 /dev/urandom | od -An -tx1 | tr -d ' \n')
for change in user-created user-updated user-deleted; do
    publish acme "$change" "$user"
done
for change in organization-created organization-updated organization-deleted; do
    publish acme "$change" "$org"
done
expected=$(for _ in 1 2 3; do
    printf '{"type":"sync.user","userId":"%s"}\n' "$user"
    printf '{"type":"sync.organization","organizationId":"%s"}\n' "$org"
done | sort)

heading 'Delivered, byte for byte, signatures verified'
expect 'billing received all six' received_all_six billing
expect 'crm received all six' received_all_six crm
sort -u <<<"$expected" | while IFS= read -r body; do note "$body"; done

heading 'Tried again until it works'
expect 'flaky answered 500 and was tried again' was_retried flaky
stop_remembered "$stage/flaky.pid" 10
receive flaky
note "flaky has recovered and answers 200 on the same port"
expect 'flaky received all six as well' received_all_six flaky

heading 'Nobody else'
received_count other 0 || fail "Globex received what was Acme's: $(deliveries other)"
ok "Globex received nothing of Acme's"
publish globex user-created user_globex
expect 'Globex received its own' received_count other 1
[[ $(accepted_bodies other) == '{"type":"sync.user","userId":"user_globex"}' ]] || fail "not as sent: $(deliveries other)"
for name in billing crm; do
    received_count "$name" 6 || fail "$name did not receive each exactly once: $(deliveries "$name")"
done
ok 'billing and crm received each of the six exactly once'

heading "Attempts at flaky, read back through the API"
# shellcheck disable=SC2154 # create_endpoint sets it
attempts_of_flaky() { api GET "/app/acme/attempt/endpoint/$flaky_endpoint?limit=100"; }
# An attempt is recorded a moment after its answer.
recorded() {
    attempts_of_flaky >"$stage/attempts.json"
    jq -e '.data | (map(select(.status == 0)) | map(.msgId) | unique | length == 6)
        and (map(select(.status == 2 and .responseStatusCode == 500)) | length > 1)' "$stage/attempts.json" >/dev/null
}
within "$patience" recorded || fail "the API does not show the attempts: $(cat "$stage/attempts.json")"
{
    printf 'TIME\tMESSAGE\tATTEMPT\tANSWER\tSTATE\tMS\n'
    jq -r '.data | sort_by(.timestamp)[] | [(.timestamp[11:] | rtrimstr("Z") | .[:12]), .msgId, .id, .responseStatusCode,
        (["delivered", "pending", "failed", "sending"][.status]), .responseDurationMs] | @tsv' "$stage/attempts.json"
} | awk -F '\t' -v dim="$dim" -v red="$red" -v green="$green" -v plain="$plain" '
    { colour = NR == 1 ? dim : $5 == "delivered" ? green : red
      printf "  %s%-13s %-32s %-34s %6s  %-10s %5s%s\n", colour, $1, $2, $3, $4, $5, $6, plain }'

heading 'The portal for Acme'
portal=$(api POST "/auth/app-portal-access/$acme" '{}' | field url)
[[ $portal == "http://$NUNCIO_LISTEN/"* ]] || fail "the portal is said to be at $portal"
printf '  %s%s%s\n' "$blue" "$portal" "$plain"
status=$(curl -sS -o /dev/null -w '%{http_code}' "${portal%%#*}")
[[ $status == 200 ]] || fail "the portal answers $status"
ok 'the portal opens'

printf '\n%s✓ all of this happened%s in %d s\n' "$green$bold" "$plain" "$SECONDS"

if [[ -t 0 && -t 1 ]]; then
    note 'The pipeline stays up for a look at the portal: Ctrl-C or Enter ends it.'
    trap 'exit 0' INT
    read -r _ || true
fi
