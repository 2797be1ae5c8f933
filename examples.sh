#!/usr/bin/env bash
# The API by example: tracks events, asks for metrics and sessions, and checks every answer.
#
#     ./examples.sh [BASE_URL]        default: http://127.0.0.1:$TRACK_PORT, or port 8000
#
# Where keys are asked for, TRACK_KEY is one with both scopes.
# Needs curl and a shell (bash 3.2 or later); Linux and macOS. Exits with 1 if an answer is not what
# it should be. For a certificate of your own, curl reads CURL_CA_BUNDLE.
set -u

BASE="${1:-http://127.0.0.1:${TRACK_PORT:-8000}}"
BASE="${BASE%/}"
NOW=$(date +%s)
RUN="example-$NOW-$$" # user ids of this run are nobody else's, so the numbers are known
WAIT_S=20

FOLDER=$(mktemp -d "${TMPDIR:-/tmp}/examples.XXXXXX") || exit 1
trap 'rm -rf "$FOLDER"' EXIT
# In a file: an argument could be seen by everybody on this machine.
: >"$FOLDER/key"
[ -z "${TRACK_KEY:-}" ] || printf 'header = "Authorization: Bearer %s"\n' "$TRACK_KEY" >"$FOLDER/key"
checks=0
failures=0
STATUS=""
BODY=""

if [ -t 1 ]; then
  BOLD=$(printf '\033[1m') DIM=$(printf '\033[2m') GREEN=$(printf '\033[32m')
  RED=$(printf '\033[31m') PLAIN=$(printf '\033[0m')
else
  BOLD="" DIM="" GREEN="" RED="" PLAIN=""
fi

# --- times ------------------------------------------------------------------------------------

# at SECONDS FORMAT: a moment since 1970 as UTC text; GNU's date takes -d, BSD's -r.
at() {
  date -u -d "@$1" "+$2" 2>/dev/null || date -u -r "$1" "+$2"
}

stamp() { at "$1" "%Y-%m-%dT%H:%M:%SZ"; }
day_of() { at "$1" "%Y-%m-%d"; }

TODAY_STARTS=$((NOW / 86400 * 86400))
NOON=$((TODAY_STARTS - 43200)) # yesterday's noon: a whole day, and never in the future
DAY=$(day_of $NOON)
DAY_BEFORE=$(day_of $((NOON - 86400)))
TOMORROW=$(day_of $((TODAY_STARTS + 86400)))
# 1970-01-01 was a Thursday, and weeks begin on Sunday.
SUNDAY=$(day_of $((NOON - (NOON / 86400 + 4) % 7 * 86400)))
MONTH="${DAY%-*}-01"

# --- calls and checks -------------------------------------------------------------------------

title() { printf '\n%s%s%s\n' "$BOLD" "$1" "$PLAIN"; }

# call CURL_ARGUMENTS...: one request; its answer goes to STATUS and BODY.
call() {
  STATUS=$(curl --silent --show-error --max-time 30 --config "$FOLDER/key" --output "$FOLDER/body" \
    --dump-header "$FOLDER/headers" --write-out '%{http_code}' "$@" 2>"$FOLDER/problem")
  if [ "$STATUS" = 000 ]; then
    printf '%s✗ %s does not answer: %s%s\n' "$RED" "$BASE" "$(cat "$FOLDER/problem")" "$PLAIN"
    printf '  Start the stack with: make run\n'
    exit 1
  fi
  BODY=$(cat "$FOLDER/body")
}

show_answer() { printf '  %s%s %s%s\n' "$DIM" "$STATUS" "$(printf '%s' "$BODY" | cut -c 1-300)" "$PLAIN"; }

# track JSON: POST /track.
track() {
  printf "\n  curl %s/track -H 'Content-Type: application/json' -d '%s'\n" "$BASE" \
    "$(printf '%s' "$1" | cut -c 1-200)"
  call -H 'Content-Type: application/json' --data-binary "$1" "$BASE/track"
  show_answer
}

# get PATH NAME=VALUE...: GET with its parameters; curl encodes them.
get() {
  get_path=$1
  shift
  shown="" arguments_file="$FOLDER/arguments"
  : >"$arguments_file"
  for parameter in "$@"; do
    shown="$shown --data-urlencode '$parameter'"
    printf 'data-urlencode = "%s"\n' "$parameter" >>"$arguments_file"
  done
  call --get --config "$arguments_file" "$BASE$get_path"
}

show_get() {
  printf '\n  curl -G %s%s%s\n' "$BASE" "$get_path" "$shown"
  show_answer
}

passed() {
  checks=$((checks + 1))
  printf '  %s✓%s %s\n' "$GREEN" "$PLAIN" "$1"
}

failed() {
  checks=$((checks + 1))
  failures=$((failures + 1))
  printf '  %s✗ %s%s\n' "$RED" "$1" "$PLAIN"
}

# is STATUS BODY WHY: the answer is exactly this.
is() {
  if [ "$STATUS" = "$1" ] && [ "$BODY" = "$2" ]; then
    passed "$3"
  else
    failed "$3: expected $1 $2"
  fi
}

# says STATUS TEXT WHY: the answer has this status and contains the text.
says() {
  case "$STATUS $BODY" in
    "$1 "*"$2"*) passed "$3" ;;
    *) failed "$3: expected $1 and $2" ;;
  esac
}

# lacks TEXT WHY: the answer does not contain the text.
lacks() {
  case "$BODY" in
    *"$1"*) failed "$2: expected nothing of $1" ;;
    *) passed "$2" ;;
  esac
}

# logged WHY: the event was taken; where it was not, nothing is waited for.
logged() {
  [ "$STATUS" = 200 ] || WAIT_S=0
  is 200 '{"status":"success","message":"Event logged."}' "$1"
}

# counted BODY WHY PATH NAME=VALUE...: asks until the answer is this, or for twenty seconds; once that
# was in vain, later answers are not waited for.
counted() {
  wanted=$1 why=$2
  shift 2
  give_up=$(($(date +%s) + WAIT_S))
  get "$@"
  while [ "$BODY" != "$wanted" ] && [ "$(date +%s)" -lt $give_up ]; do
    sleep 0.2
    get "$@"
  done
  [ "$BODY" = "$wanted" ] || WAIT_S=0
  show_get
  is 200 "$wanted" "$why"
}

data() { printf '{"status":"success","data":[%s]}' "$1"; }

printf '%sThe API at %s%s\n' "$BOLD" "$BASE" "$PLAIN"

# ----------------------------------------------------------------------------------------------
title "1. Music: two songs are played and stopped"
ADA="$RUN-ada"
SONG='{"song_id":"song_0042","artist":"Nina Orr","device":"mobile"}'

track "{\"event\":\"play\",\"user_id\":\"$ADA\",\"timestamp\":\"$(stamp $NOON)\",\"metadata\":$SONG}"
logged "a play is logged"
grep -qi '^x-event-id: .' "$FOLDER/headers" && passed "X-Event-Id names the event" ||
  failed "the header X-Event-Id is missing"
track "{\"event\":\"pause\",\"user_id\":\"$ADA\",\"timestamp\":\"$(stamp $((NOON + 60)))\",\"event_id\":\"$RUN-1\"}"
logged "any event name may be tracked"
track "{\"event\":\"pause\",\"user_id\":\"$ADA\",\"timestamp\":\"$(stamp $((NOON + 60)))\",\"event_id\":\"$RUN-1\"}"
logged "sent again with the same event_id it is answered alike, and counted once"
track "{\"event\":\"stop\",\"user_id\":\"$ADA\",\"timestamp\":\"$(stamp $((NOON + 210)))\",\"metadata\":$SONG}"
logged "the stop closes a session of 210 seconds"
track "{\"event\":\"play\",\"user_id\":\"$ADA\",\"timestamp\":\"$(stamp $((NOON + 210)))\"}"
logged "the next song begins at that instant"
track "{\"event\":\"stop\",\"user_id\":\"$ADA\",\"timestamp\":\"$(stamp $((NOON + 335)))\"}"
logged "and is stopped after 125 seconds"
track "{\"event\":\"play\",\"user_id\":\"$ADA\",\"timestamp\":\"$(stamp $((NOON - 86400)))\"}"
logged "a play of the day before, read in late, that nothing ever stopped"

# ----------------------------------------------------------------------------------------------
title "2. A shop: any event is counted, only play and stop make sessions"
BOB="$RUN-bob & Zoë"
track "{\"event\":\"product_view\",\"user_id\":\"$BOB\",\"timestamp\":\"$(stamp $NOON)\",\"metadata\":{\"sku\":\"tea-7\",\"price\":12.5}}"
logged "a look at a product"
track "{\"event\":\"product_view\",\"user_id\":\"$BOB\",\"timestamp\":\"$(stamp $((NOON + 30)))\",\"metadata\":{\"sku\":\"cup-1\",\"price\":8}}"
logged "and at another one"
track "{\"event\":\"purchase\",\"user_id\":\"$BOB\",\"timestamp\":\"$(stamp $((NOON + 90)))\",\"metadata\":{\"total\":20.5,\"items\":[\"tea-7\",\"cup-1\"]}}"
logged "a purchase"

# ----------------------------------------------------------------------------------------------
title "3. Metrics over several ranges"
counted "$(data "{\"date\":\"$DAY_BEFORE\",\"play\":1},{\"date\":\"$DAY\",\"pause\":1,\"play\":2,\"stop\":2}")" \
  "by day: days with data only, oldest first" \
  /metrics "start_date=$DAY_BEFORE" "end_date=$DAY" "user_id=$ADA"
counted "$(data "{\"date\":\"$DAY\",\"pause\":1,\"play\":2,\"stop\":2}")" \
  "one day: both dates are inclusive" \
  /metrics "start_date=$DAY" "end_date=$DAY" "user_id=$ADA"
counted "$(data "{\"date\":\"$SUNDAY\",\"pause\":1,\"play\":2,\"stop\":2}")" \
  "by week: labelled by its Sunday, only days of the range are counted" \
  /metrics "start_date=$DAY" "end_date=$DAY" group_by=week "user_id=$ADA"
counted "$(data "{\"date\":\"$MONTH\",\"pause\":1,\"play\":2,\"stop\":2}")" \
  "by month: labelled by its first day" \
  /metrics "start_date=$DAY" "end_date=$DAY" group_by=month "user_id=$ADA"
counted "$(data "{\"date\":\"$DAY\",\"product_view\":2,\"purchase\":1}")" \
  "the shop's user, whose id has to be encoded" \
  /metrics "start_date=$DAY" "end_date=$DAY" "user_id=$BOB"
get /metrics "start_date=$DAY" "end_date=$DAY"
show_get
says 200 "{\"status\":\"success\",\"data\":[{\"date\":\"$DAY\"," "all users together"
says 200 '"product_view":' "with every event's name"
get /metrics "start_date=$DAY" "end_date=$DAY" "user_id=$RUN-nobody"
show_get
is 200 "$(data "")" "nobody's day has no data"

# ----------------------------------------------------------------------------------------------
title "4. Sessions"
counted "$(data "{\"date\":\"$DAY\",\"totalDuration\":335,\"sessionCount\":2,\"averageDuration\":168}")" \
  "210 s and 125 s: 167.5 s on average, rounded half up" \
  /sessions "start_date=$DAY_BEFORE" "end_date=$DAY" "user_id=$ADA"
counted "$(data "{\"date\":\"$SUNDAY\",\"totalDuration\":335,\"sessionCount\":2,\"averageDuration\":168}")" \
  "by week" /sessions "start_date=$DAY" "end_date=$DAY" group_by=week "user_id=$ADA"
counted "$(data "{\"date\":\"$MONTH\",\"totalDuration\":335,\"sessionCount\":2,\"averageDuration\":168}")" \
  "by month" /sessions "start_date=$DAY" "end_date=$DAY" group_by=month "user_id=$ADA"
get /sessions "start_date=$DAY" "end_date=$DAY" "user_id=$BOB"
show_get
is 200 "$(data "")" "the shop has none"
get /sessions "start_date=$DAY" "end_date=$DAY"
show_get
says 200 "{\"status\":\"success\",\"data\":[{\"date\":\"$DAY\",\"totalDuration\":" "all users together"

# ----------------------------------------------------------------------------------------------
title "5. Other questions"
counted "$(data "{\"value\":\"play\",\"count\":2},{\"value\":\"stop\",\"count\":2},{\"value\":\"pause\",\"count\":1}")" \
  "the most frequent events" \
  /metrics/top "start_date=$DAY" "end_date=$DAY" "user_id=$ADA"
get /sessions "start_date=$DAY" "end_date=$DAY" "user_id=$ADA" attributes.device=mobile stats=extended
show_get
says 200 '"medianDuration":210,"p95Duration":210,"longestDuration":210,"users":1' \
  "sessions whose play had this device, with quantiles"
get /sessions/concurrent "start_date=$DAY" "end_date=$DAY" "user_id=$ADA"
show_get
says 200 "{\"date\":\"${DAY}T12:00:00+00:00\",\"peak\":1,\"mean\":0.093}" "one song at a time: 335 s of an hour"
get /sessions/list "start_date=$DAY" "end_date=$DAY" "user_id=$ADA" limit=1
show_get
says 200 '"duration_ms":125000' "the latest session comes first"
says 200 '"next":"' "and there is another page"
get /sessions/open "user_id=$ADA"
show_get
says 200 "\"timestamp\":\"${DAY_BEFORE}T12:00:00.000Z\"" "the play that nothing has stopped is open"
get /events "user_id=$ADA" event=pause
show_get
says 200 "\"event_id\":\"$RUN-1\"" "the pause, once"
get /metrics "start_date=$DAY" "end_date=$DAY" "user_id=$ADA" format=csv
show_get
says 200 "\"$DAY\",1,2,2" "counts as CSV"
get /metrics "start_date=$DAY" "end_date=$DAY" count=users event=pause
show_get
says 200 '"pause":' "how many different users have paused"

# ----------------------------------------------------------------------------------------------
title "6. Edge cases"
EVE="$RUN-eve"
track "{\"event\":\"stop\",\"user_id\":\"$EVE\",\"timestamp\":\"$(stamp $NOON)\"}"
logged "a stop without a play is an event, and no session"
track "{\"event\":\"like\",\"user_id\":\"$EVE\",\"timestamp\":\"2199-01-01T00:00:00Z\"}"
logged "a timestamp in the future becomes the time of receipt"
LONG=$(printf '%5000s' '' | tr ' ' x)
track "{\"event\":\"note\",\"user_id\":\"$EVE\",\"timestamp\":\"$(stamp $NOON)\",\"metadata\":{\"kept\":1,\"text\":\"$LONG\"}}"
logged "metadata over 4,096 bytes is cut down to the keys that fit"
counted "$(data "{\"date\":\"$DAY\",\"note\":1,\"stop\":1}")" "they are counted" \
  /metrics "start_date=$DAY" "end_date=$DAY" "user_id=$EVE"
counted "$(data "")" "a lone stop makes no session" \
  /sessions "start_date=$DAY" "end_date=$TOMORROW" "user_id=$EVE"
give_up=$(($(date +%s) + WAIT_S))
while :; do
  get /metrics "start_date=$DAY" "end_date=2199-12-31" group_by=month "user_id=$EVE"
  case "$BODY" in *'"like":1'*) break ;; esac
  [ "$(date +%s)" -lt $give_up ] || break
  sleep 0.2
done
show_get
says 200 '"like":1' "the like of 2199 is counted"
lacks 2199 "today, not in 2199"
HUGE=$(printf '%66000s' '' | tr ' ' x)
printf '%s' "{\"event\":\"note\",\"user_id\":\"$EVE\",\"metadata\":{\"text\":\"$HUGE\"}}" >"$FOLDER/huge"
printf "\n  curl %s/track -H 'Content-Type: application/json' -d @a-body-of-66-kilobytes\n" "$BASE"
call -H 'Content-Type: application/json' -H 'Expect:' --data-binary "@$FOLDER/huge" "$BASE/track"
show_answer
says 413 '"status":"error"' "a body over 64 KiB is too large"

# ----------------------------------------------------------------------------------------------
title "7. Errors say what went wrong, naming the field"
track '{"event":"play"}'
says 400 'user_id' "user_id is required"
track "{\"user_id\":\"$EVE\"}"
says 400 '"message":"event ' "event is required"
track "{\"event\":\"\",\"user_id\":\"$EVE\"}"
says 400 '"message":"event ' "a name must not be empty"
track "{\"event\":\"date\",\"user_id\":\"$EVE\"}"
says 400 'reserved' "the name date is reserved"
track "{\"event\":\"play\",\"user_id\":42}"
says 400 'user_id' "a user_id is a string"
track "{\"event\":\"play\",\"user_id\":\"$EVE\",\"timestamp\":\"yesterday\"}"
says 400 'timestamp' "a timestamp is RFC 3339"
track "{\"event\":\"play\",\"user_id\":\"$EVE\",\"metadata\":[1,2]}"
says 400 'metadata' "metadata is an object"
track '{"event":'
says 400 '"status":"error"' "the body is JSON"
printf "\n  curl %s/track -H 'Content-Type: application/xml' -d '<play/>'\n" "$BASE"
call -H 'Content-Type: application/xml' --data-binary '<play/>' "$BASE/track"
show_answer
says 415 '"status":"error"' "another content type is not taken"
get /track
show_get
says 405 '"status":"error"' "/track takes POST"
get /nothing-here
show_get
says 404 '"status":"error"' "an unknown path"
for path in /metrics /sessions; do
  get $path
  show_get
  says 400 '"message":"start_date and end_date are required"' "$path needs both dates"
  get $path start_date=2024-1-1 end_date=2024-01-31
  show_get
  says 400 '"message":"Invalid date format. Use YYYY-MM-DD"' "a malformed date"
  get $path start_date=2024-02-30 end_date=2024-03-01
  show_get
  says 400 '"message":"Invalid date format. Use YYYY-MM-DD"' "an impossible date"
  get $path start_date=2024-01-31 end_date=2024-01-01
  show_get
  says 400 'end_date' "the end comes before the start"
  get $path start_date=2024-01-01 end_date=2024-01-31 group_by=year
  show_get
  says 400 'group_by' "group_by is day, week, month or hour"
done

# ----------------------------------------------------------------------------------------------
if [ $failures -eq 0 ]; then
  printf '\n%s✓ All %d checks passed.%s\n' "$GREEN" $checks "$PLAIN"
else
  printf '\n%s✗ %d of %d checks failed.%s\n' "$RED" $failures $checks "$PLAIN"
  exit 1
fi
