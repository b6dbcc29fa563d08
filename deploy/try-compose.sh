#!/usr/bin/env bash
# Tries docker-compose.yml for real, and fails when something is not as it should be: everything from nothing to ready,
# the printed commands, a restart of the engine in the middle of runs, `kill -9` of eventsvc in the middle of intake.
# What it prints is the transcript in docs/compose.md.
#
#   deploy/try-compose.sh              builds the image first
#   deploy/try-compose.sh --no-build   takes the image that is there
#   deploy/try-compose.sh --keep       leaves everything running
#
# Needs Docker with compose, curl and openssl. Works in a project of its own, which it removes before and after.
set -euo pipefail
cd "$(dirname "$0")/.."

export COMPOSE_PROJECT_NAME=switchyard-try SWITCHYARD_PORT=${SWITCHYARD_PORT:-18080}
RUNS=20 DELIVERIES=600 SENDERS=8
dir=$(mktemp -d)
options=" $* "
if docker compose version >/dev/null 2>&1; then compose=(docker compose); else compose=(docker-compose); fi

c() { "${compose[@]}" "$@"; }
step() { printf '\n## %s\n' "$*"; }
told() { printf '\n$ %s %s\n' "${compose[*]}" "$*"; }
fail() {
  printf '\nFAILED: %s\n' "$*"
  c logs --tail=20 gateway eventsvc engine credsvc
  exit 1
}
finish() {
  [[ $options == *' --keep '* ]] || c down -v --remove-orphans >/dev/null 2>&1
  rm -rf "$dir"
}
# No key and no secret belongs into a transcript; a line for the beginning of something is followed by one for its end.
masked() {
  sed -u -E -e 's/\r$//' -e 's/sy_[0-9a-f]{16,}/sy_…/g' -e 's/whsec_[A-Za-z0-9+/=]{16,}/whsec_…/g' \
    -e '/ \.\.\. $/d' -e '/^Attaching to /d'
}

# until_is SECONDS WHAT EXPECTED COMMAND...: asks until the answer is the expected one.
until_is() {
  local deadline=$((SECONDS + $1)) what=$2 expected=$3 got
  shift 3
  while got=$("$@") || true; [ "$got" != "$expected" ]; do
    [ "$SECONDS" -lt "$deadline" ] || fail "$what: $got instead of $expected"
    sleep 0.3
  done
  echo "$what: $got"
}

api() { # api METHOD PATH [BODY]
  local body=()
  [ $# -lt 3 ] || body=(-H 'content-type: application/json' -d "$3")
  curl -sS --fail-with-body -X "$1" "$SWITCHYARD_URL$2" -H "authorization: Bearer $SWITCHYARD_API_KEY" "${body[@]}"
}
first() { grep -oE "$1_[0-9a-f]{32}" | head -n 1; }
ready() { curl -s -o /dev/null -w '%{http_code}' "$SWITCHYARD_URL/readyz" || true; }
notes() { c exec -T demo-receiver switchyard healthcheck http://127.0.0.1:9000/notes | grep -oE '"total":[0-9]+' | cut -d: -f2; }
new_notes() { echo $(($(notes) - $1)); }
count_runs() { # count_runs FILTER: over all pages
  local cursor='' page total=0
  while :; do
    page=$(api GET "/v1/runs?limit=100&$1$cursor") || return 1
    total=$((total + $(grep -oE '"run_id":"run_[0-9a-f]{32}"' <<<"$page" | wc -l)))
    cursor=$(grep -oE '"next_cursor":"[^"]+"' <<<"$page" | cut -d'"' -f4)
    [ -n "$cursor" ] || break
    cursor="&cursor=$cursor"
  done
  echo "$total"
}

from_nothing() {
  step 'From nothing to ready'
  if [[ $options != *' --no-build '* ]]; then
    told build init
    c build init >"$dir/build" 2>&1 || { tail -n 30 "$dir/build"; fail 'the image is not built'; }
    tail -n 2 "$dir/build"
  fi
  local started=$SECONDS
  told up -d
  c up -d 2>&1
  docker wait "$(c ps -aq demo)" >/dev/null
  echo "ready after $((SECONDS - started)) s"
  told ps
  c ps -a | sed -E 's/ +$//'
  told logs --no-log-prefix demo
  c logs --no-color --no-log-prefix demo | tee "$dir/printed"
  kept() { c run --rm -T --no-deps --entrypoint cat demo "/var/lib/switchyard/admin/$1" 2>/dev/null; }
  kept env >"$dir/env"
  kept demo.json >"$dir/demo"
  # shellcheck disable=SC1091
  . "$dir/env"
  [ "$(ready)" = 200 ] || fail 'the gateway is not ready'
}

who_reaches_whom() {
  step 'Who reaches credsvc, and who sees which secrets'
  for name in gateway eventsvc engine demo-receiver; do
    told exec "$name" switchyard healthcheck http://credsvc:8081/livez
    if c exec -T "$name" switchyard healthcheck http://credsvc:8081/livez 2>&1; then
      [ "$name" != demo-receiver ] || fail 'the receiver reaches credsvc'
    else
      [ "$name" = demo-receiver ] || fail "$name does not reach credsvc"
    fi
  done
  told "exec engine sh -c 'id -u; cut -d= -f1 /run/switchyard/env'"
  c exec -T engine sh -c 'id -u; cut -d= -f1 /run/switchyard/env'
}

printed_commands() {
  step 'The printed commands'
  sed -n '/^1\. Fire/,/^2\. Follow/p' "$dir/printed" | sed '1d;$d' >"$dir/fire"
  sed -n '/^2\. Follow/,$p' "$dir/printed" | sed 1d >"$dir/follow"
  bash "$dir/fire" | tee "$dir/fired"
  echo
  grep -q '^HTTP/1.1 202' "$dir/fired" || fail 'the webhook was not accepted'
  until_is 30 'runs that succeeded' 1 count_runs status=succeeded
  timeout 30 bash "$dir/follow" >"$dir/followed"
  sed -nE 's/^(id|event): /\1 /p' "$dir/followed" | paste - - | tail -n 12
  grep -q '"status":"succeeded"' "$dir/followed" || fail 'the run did not succeed'
}

restart_engine() {
  step "docker-compose restart engine, in the middle of $RUNS runs"
  local tool credential agent script before run resumed=0
  tool=$(grep -oE 'tool_[0-9a-f]{32}' "$dir/demo")
  credential=$(grep -oE 'crd_[0-9a-f]{32}' "$dir/demo")
  script='[{"delay_ms":5000,"tool_calls":[{"name":"take_note","arguments":{"text":"{{input}}"}}]},{"delay_ms":1000,"text":"Noted."}]'
  agent=$(api POST /v1/agents "{\"name\":\"slow\",\"model\":\"sim:script\",\"instructions\":\"\`\`\`sim\\n${script//\"/\\\"}\\n\`\`\`\"}" | first agt)
  api PUT "/v1/agents/$agent/tools/$tool" "{\"credential_id\":\"$credential\"}" >"$dir/out"
  before=$(notes)
  for n in $(seq "$RUNS"); do
    api POST /v1/runs "{\"agent_id\":\"$agent\",\"input\":\"slow $n\"}" | first run >>"$dir/slow"
  done
  until_is 10 'runs under way' "$RUNS" count_runs "agent_id=$agent&status=running"
  echo 'Each of them waits for its first model call, which takes 5 s; then come a tool call and another model call.'
  told restart engine
  c restart engine 2>&1
  until_is 60 'the gateway' 200 ready
  until_is 90 'runs that succeeded' "$RUNS" count_runs "agent_id=$agent&status=succeeded"
  while read -r run; do
    timeout 10 curl -sN "$SWITCHYARD_URL/v1/runs/$run/events" -H "authorization: Bearer $SWITCHYARD_API_KEY" >"$dir/events"
    ! grep -q '^event: resumed' "$dir/events" || resumed=$((resumed + 1))
  done <"$dir/slow"
  echo "of them begun in the old process and resumed in the new one: $resumed"
  [ "$resumed" -gt 0 ] || fail 'the restart was not in the middle of anything'
  until_is 5 'notes their tool took' "$RUNS" new_notes "$before"
}

deliver() { # deliver N: prints the status; the same N is the same message
  local id=msg_try_$1 body="{\"n\":$1}" ts hex sig
  ts=$(date +%s)
  hex=$(printf %s "${SWITCHYARD_DEMO_SECRET#whsec_}" | base64 -d | od -An -tx1 | tr -d ' \n')
  sig=$(printf %s "$id.$ts.$body" | openssl dgst -sha256 -mac HMAC -macopt "hexkey:$hex" -binary | base64)
  status=$(curl -s -o /dev/null -m 15 -w '%{http_code}' "$SWITCHYARD_DEMO_HOOK" -H "webhook-id: $id" \
    -H "webhook-timestamp: $ts" -H "webhook-signature: v1,$sig" -H 'content-type: application/json' -d "$body") || true
  echo "$1 $status"
}
send() { xargs -P "$SENDERS" -I{} bash -c 'deliver {}' >>"$1"; }
tally() { cut -d' ' -f2 "$1" | sort | uniq -c | awk '{ printf "%s× %s  ", $1, $2 }'; }

kill_eventsvc() {
  step "docker-compose kill -s KILL eventsvc, in the middle of $DELIVERIES deliveries"
  local trigger=${SWITCHYARD_DEMO_HOOK##*/} before runs_before
  before=$(notes)
  runs_before=$(count_runs "trigger_id=$trigger")
  export -f deliver
  export SWITCHYARD_DEMO_SECRET SWITCHYARD_DEMO_HOOK
  seq "$DELIVERIES" | send "$dir/first" &
  while [ "$(grep -c ' 202$' "$dir/first" 2>/dev/null)" -lt $((DELIVERIES / 4)) ]; do sleep 0.02; done
  told kill -s KILL eventsvc
  c kill -s KILL eventsvc 2>&1
  wait $!
  echo "answers, by status: $(tally "$dir/first")"
  grep -qv ' 20[02]$' "$dir/first" || fail 'the kill was not in the middle of anything'
  told up -d eventsvc
  c up -d eventsvc 2>&1
  until_is 60 'the gateway' 200 ready
  echo 'Every sender without an answer sends again, and the first 20 once more although they had one:'
  { grep -v ' 20[02]$' "$dir/first" | cut -d' ' -f1; seq 20; } | sort -un | send "$dir/second"
  echo "answers, by status: $(tally "$dir/second")"
  ! grep -qv ' 20[02]$' "$dir/second" || fail 'not every delivery was accepted'
  until_is 60 'runs that succeeded' $((DELIVERIES + runs_before)) count_runs "trigger_id=$trigger&status=succeeded"
  until_is 5 'runs of the trigger' $((DELIVERIES + runs_before)) count_runs "trigger_id=$trigger"
  until_is 5 'notes their tool took' "$DELIVERIES" new_notes "$before"
}

main() {
  trap finish EXIT
  c down -v --remove-orphans >/dev/null 2>&1
  from_nothing
  who_reaches_whom
  printed_commands
  restart_engine
  kill_eventsvc
  step 'Everything is as it should be'
}

main 2>&1 | masked
