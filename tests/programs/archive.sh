# tar, gzip, xz there and back.
. /opt/programs/files/common.sh
need tar gzip xz
MB=$(size 10 200)
mkdir in
dd if=/dev/urandom of=in/a bs=1M count=$((MB / 4)) 2>/dev/null
seq $((MB * 90000)) | head -c $((MB * 3 / 4))M >in/b
for z in gzip "xz -0 -T2"; do
    tar -C in -cf - . | $z >t.z
    rm -rf out && mkdir out && ${z%% *} -dc t.z | tar -C out -xf -
    diff -r in out
done
