# coreutils and findutils on a big tree.
. /opt/programs/files/common.sh
N=$(size 20 500) # directories of 100 files
mkdir tree && cd tree
for d in $(seq "$N"); do mkdir "d$d"; (cd "d$d" && for f in $(seq 100); do echo "$d $f" >"f$f"; done); done
cd ..
expect count "$(find tree -type f | wc -l)" $((N * 100))
cp -a tree copy
diff -r tree copy
expect du "$(du -a copy | wc -l)" $((N * 101 + 1))
expect sum "$(find copy -type f -print0 | sort -z | xargs -0 cat | md5sum)" "$(find tree -type f | sort | xargs cat | md5sum)"
find copy -name 'f*5' -delete
expect deleted "$(find copy -type f | wc -l)" $((N * 90))
mv copy moved && ln -s moved link && expect link "$(readlink link)" moved
chmod -R go-rwx moved && expect mode "$(stat -c %a moved/d1/f1)" 600
chown -R 12:34 moved/d1 && expect owner "$(stat -c %u:%g moved/d1/f1)" 12:34
touch -d '2001-02-03 04:05:06 UTC' moved/d1/f1 && expect mtime "$(stat -c %Y moved/d1/f1)" 981173106
ln moved/d1/f1 hard && expect nlink "$(stat -c %h hard)" 2
truncate -s 1M sparse && expect sparse "$(stat -c %b sparse)" 0
dd if=/dev/urandom of=rnd bs=64k count=16 2>/dev/null && split -b 100k rnd part. && cat part.* | cmp - rnd
seq 200000 | sort -rn | tail -n 1 | grep -qx 1
mkfifo p && (echo through >p &) && expect fifo "$(cat p)" through
timeout 0.2 sleep 5 || expect timeout $? 124
nohup true >/dev/null 2>&1; nice -n 5 true; env -i /bin/true; id -u | grep -qx 0; nproc | grep -q .; df / >/dev/null; sync; stat -f / >/dev/null
rm -rf tree moved
