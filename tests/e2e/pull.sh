#!/bin/sh
# hearth pull as a person meets it where there is no network: names, settings, the cache. Transfers are tests/hub's.
. tests/e2e/tap.inc
unset HF_TOKEN HUGGING_FACE_HUB_TOKEN HF_TOKEN_PATH HF_HUB_CACHE HUGGINGFACE_HUB_CACHE TRANSFORMERS_OFFLINE HF_HUB_OFFLINE
unset http_proxy https_proxy all_proxy
HF_HOME=$tmp/home HF_ENDPOINT=http://127.0.0.1:1
export HF_HOME HF_ENDPOINT
commit=0123456789abcdef0123456789abcdef01234567

run "$HEARTH" pull --help
claim "help names the environment" '[ $rc = 0 ]' 'out_has HF_TOKEN HF_ENDPOINT HF_HUB_OFFLINE --verify'
run "$HEARTH" pull
claim "a pull of nothing is bad use" '[ $rc = 2 ]'
run "$HEARTH" pull ../../etc/passwd
claim "a path is no name" '[ $rc = 2 ]' 'err_has "is not a hub name" ORG/MODEL'
run "$HEARTH" pull org/model:../x
claim "a file outside of the repository is bad use" '[ $rc = 2 ]'
run "$HEARTH" pull org/model --revision 'a b'
claim "a revision is checked" '[ $rc = 2 ]' 'err_has "revision"'
run "$HEARTH" pull org/model --conections 3
claim "an unknown option names its neighbour" '[ $rc = 2 ]' 'err_has --connections'
HF_ENDPOINT=ftp://x run "$HEARTH" pull org/model
claim "an endpoint is a URL" '[ $rc = 2 ]' 'err_has HF_ENDPOINT'
HF_ENDPOINT=http://127.0.0.1:1
run_for 20 "$HEARTH" pull org/model
claim "without a network that is said" '[ $rc = 1 ]' 'err_has "no connection to http://127.0.0.1:1" "without a network"'
claim "and nothing is left behind" '[ ! -e "$HF_HOME/hub" ]'

HF_HUB_OFFLINE=1; export HF_HUB_OFFLINE
run "$HEARTH" pull org/model
claim "offline says so" '[ $rc = 1 ]' 'err_has "HF_HUB_OFFLINE is set"'
repo=$HF_HOME/hub/models--org--model
mkdir -p "$repo/refs" "$repo/blobs" "$repo/snapshots/$commit"
printf %s $commit > "$repo/refs/main"
cp "$model" "$repo/blobs/x"
ln -s ../../blobs/x "$repo/snapshots/$commit/m-Q4_0.gguf"
run "$HEARTH" pull org/model:q4_0
claim "offline takes what the cache has" '[ $rc = 0 ]' 'out_is "$repo/snapshots/$commit/m-Q4_0.gguf\n"'
run "$HEARTH" pull org/model:q8_0
claim "and names the command for what it lacks" '[ $rc = 1 ]' 'err_has "hearth pull org/model:q8_0"'
run "$HEARTH" pull org/model:q4_0 --json
claim "as JSON too" '[ $rc = 0 ]' 'out_has "\"path\":\""'
finish
