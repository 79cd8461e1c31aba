# git: init, add, commit, branch, merge, clone, gc, fsck.
. /opt/programs/files/common.sh
need git
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.com GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.com
git init -q -b main r && cd r
N=$(size 100 3000)
for i in $(seq "$N"); do echo "line $i" >"f$i"; done
git add . && git commit -qm one
for i in 1 2 3 4 5; do echo "more $i" >>"f$i" && git commit -qam "c$i"; done
git checkout -qb side HEAD~2 && echo side >side && git add side && git commit -qm side && git checkout -q main && git merge -q -m merged side
expect log "$(git rev-list --count HEAD)" 8
expect clean "$(git status --porcelain)" ""
cd .. && git clone -q r c && cd c && git gc -q && git fsck --strict >/dev/null 2>&1
expect files "$(git ls-files | wc -l)" $((N + 1))
git diff --stat HEAD~3 >/dev/null && git grep -q 'line 7' && git stash list && git tag v1 && git archive v1 | tar tf - | grep -q f1
echo x >>f1 && git stash -q && expect stash "$(git status --porcelain)" "" && git stash pop -q && expect pop "$(git status --porcelain)" " M f1"
