#!/usr/bin/env bash
# The long counts. Each part keeps how far it came under $MLOPS_HOME/soak, so
# that a run that was ended goes on; SOAK_RESET=1 begins anew. Prints a line per
# part: its name, how many times it was done, how many failed.
#
#   COLD=5     cold starts, each followed by a DAG run that must succeed
#   KILLS=20   kill -9 of a random server, which must come back on its ports
#   FUZZ=10m   time for each fuzz target
#   TREES=500  random trees through dvc and ours, in rounds of ten; a round's
#              seeds are its number and a digit, and failing ones are named
#   CLIENT_KILLS=200 SERVER_KILLS=50 LOST_RUNS=100
#              kill -9 of a logging program, of the server under one, and runs
#              whose answers get lost; in rounds of ten, the seed is the round's
#   POISON_KILLS=1000
#              kill -9 of five projects' programs, with records among theirs that
#              MLflow fails on, and of the agent; likewise; a round in
#              which a project waited for longer than 60 s fails
#   The drift of 100 windows of 200 equal columns, which must not fire.
#   Each file of a home removed, emptied, opened and given away, in turn.
#   SHARES=10000  seeds of the simulator of shares, in rounds of a hundred
#   DVC_KILLS=200 DVC_TOGETHER=100
#              kill -9 of add, checkout, push and pull; rounds of dvc and ours in
#              one repository at once. Both need dvc in the home.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${MLOPS_HOME:?}"
export MLOPS_HOME PATH=$PWD/bin:$PATH
COLD=${COLD:-5} KILLS=${KILLS:-20} FUZZ=${FUZZ:-10m}
at=$MLOPS_HOME/soak
[ -z "${SOAK_RESET:-}" ] || rm -rf "$at"
mkdir -p "$at"
trap 'mlopsctl stop >/dev/null 2>&1 || true' EXIT
trap 'exit 130' INT TERM

# part NAME COUNT FUNCTION: calls the function until it was done COUNT times.
part() {
	local name=$1 count=$2 do=$3 done failed
	done=$(cat "$at/$name.done" 2>/dev/null || echo 0)
	failed=$(cat "$at/$name.failed" 2>/dev/null || echo 0)
	while [ "$done" -lt "$count" ]; do
		if ! $do >>"$at/$name.log" 2>&1; then
			failed=$((failed + 1))
			echo "$failed" >"$at/$name.failed"
		fi
		done=$((done + 1))
		echo "$done" >"$at/$name.done"
	done
	echo "$name: $done done, $failed failed"
	[ "$failed" -eq 0 ] || bad=1
}

cold() {
	mlopsctl stop && mlopsctl start && mlopsctl dag trigger train -p breast-cancer --wait
}

kills() {
	mlopsctl start
	local line pid
	line=$(mlopsctl status | awk -F '\t' '$4' | shuf -n 1) # an optional service may not run
	pid=$(cut -f 4 <<<"$line")
	echo "kill -9 $line"
	kill -9 "$pid"
	for _ in $(seq 120); do
		if mlopsctl status >/dev/null; then
			[ "$(mlopsctl status | grep -P "^$(cut -f 1 <<<"$line")\t" | cut -f 3)" = "$(cut -f 3 <<<"$line")" ]
			return
		fi
		sleep 2
	done
	return 1
}

bad=0
mlopsctl setup
mlopsctl setup dvc s3 # what the suites below run
mlopsctl start
mlopsctl demo >>"$at/demo.log" 2>&1
part cold-starts "$COLD" cold
part kills "$KILLS" kills

# crash TEST VARIABLE [PACKAGE]: one round of ten. The round is the seed; its
# figures go to the part's log.
crash() {
	local seed
	seed=$(($(cat "$at/$1.round" 2>/dev/null || echo 0) + 1))
	echo "$seed" >"$at/$1.round"
	env MLOPS_LIVE=1 MLOPS_SEED="$seed" "$2=10" MLOPS_SOAK_FIGURES="$at/figures" \
		go test -count=1 -timeout 60m -run "^$1\$" "./${3:-mlflow}"
}
dvc_kills() { crash TestKilledOperationsLeaveNothingTorn MLOPS_DVC_KILLS dvc; }
dvc_together() { crash TestLiveBothToolsAtOnceDamageNothing MLOPS_DVC_TOGETHER dvc; }
client_kills() { crash TestNoAcknowledgedRecordDiesWithItsProgram MLOPS_CLIENT_KILLS; }
server_kills() { crash TestAServerMayDieUnderALivingProgram MLOPS_SERVER_KILLS; }
lost_answers() { crash TestALostAnswerDoublesNothing MLOPS_LOST_RUNS; }
poison_kills() { MLOPS_POISON_DELAY=60 crash TestPoisonAndKillsLoseNothingAndHoldUpNobody MLOPS_POISON_KILLS; }
journal_kills() { MLOPS_SOAK_KILLS="${JOURNAL_KILLS:-200}" go test -count=1 -timeout 60m -run 'Kill' ./internal/spool; }
# Random trees through dvc and through ours, ten a round; dvc is the one of the home.
trees() {
	local round
	round=$(cat "$at/trees.round" 2>/dev/null || echo 0)
	echo $((round + 1)) >"$at/trees.round"
	MLOPS_LIVE=1 MLOPS_TREES=10 MLOPS_SEED="$round" go test -count=1 -timeout 60m -run '^TestLiveTreesComeOutAsDVCs$' ./dvc
}
home_files() { MLOPS_LIVE=1 MLOPS_HOME_FILES=all go test -count=1 -timeout 300m -run '^TestEachFileOfAHomeMayBeLost$' -v ./cli; }
shares() {
	local round
	round=$(cat "$at/shares.round" 2>/dev/null || echo 0)
	echo $((round + 1)) >"$at/shares.round"
	MLOPS_SEED=$((round * 100)) MLOPS_SIM_SEEDS=100 go test -count=1 -timeout 60m -run '^TestEachSeedHoldsWhatSharesPromise$' ./fair/sim
}
drift_noise() { MLOPS_SOAK=1 go test -count=1 -timeout 60m -run '^TestChanceDoesNotFireTheDefaultRule$' -v ./drift; }
part drift-noise 1 drift_noise
part shares $((${SHARES:-10000} / 100)) shares
part home-files 1 home_files
part trees $((${TREES:-500} / 10)) trees

part dvc-kills $((${DVC_KILLS:-200} / 10)) dvc_kills
part dvc-together $((${DVC_TOGETHER:-100} / 10)) dvc_together
dvc_s3_kills() {
	local seed
	seed=$(($(cat "$at/dvc-s3.round" 2>/dev/null || echo 0) + 1))
	echo "$seed" >"$at/dvc-s3.round"
	env MLOPS_LIVE=1 MLOPS_SEED="$seed" MLOPS_DVC_KILLS=10 go test -count=1 -timeout 60m -run '^TestKilledPushesAndPullsOnS3LeaveNothingTorn$' ./dvc
}
pipelines() { # minutes of tasks, one after another
	env MLOPS_LIVE=1 MLOPS_SOAK=1 go test -count=1 -timeout 60m -run '^TestLiveTheTemplatesRunToTheirEnd$' ./client
}
part pipelines 1 pipelines
part dvc-s3-kills $((${DVC_S3_KILLS:-200} / 10)) dvc_s3_kills
part client-kills $((${CLIENT_KILLS:-200} / 10)) client_kills
part poison-kills $((${POISON_KILLS:-1000} / 10)) poison_kills
part journal-kills 1 journal_kills
part server-kills $((${SERVER_KILLS:-50} / 10)) server_kills
part lost-answers $((${LOST_RUNS:-100} / 10)) lost_answers
cat "$at/figures" 2>/dev/null || true

for file in $(git grep -l '^func Fuzz' -- '*_test.go'); do
	for target in $(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' "$file"); do
		fuzz() { go test -run '^$' -fuzz "^$target\$" -fuzztime "$FUZZ" "./$(dirname "$file")"; }
		part "$target" 1 fuzz
	done
done
exit "$bad"
