// An event loop at work: timers, files, child processes, streams, workers.
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');
const { execFile, spawn } = require('child_process');
const fs = require('fs');
const assert = require('assert');

if (!isMainThread) {
  let s = 0;
  for (let i = 0; i < 1e6; i++) s += i % workerData;
  const shared = new Int32Array(new SharedArrayBuffer(4));
  Atomics.add(shared, 0, 1);
  parentPort.postMessage(s);
} else {
  const worker = (n) => new Promise((ok, no) => new Worker(__filename, { workerData: n }).on('message', ok).on('error', no));
  const timer = (ms) => new Promise((ok) => setTimeout(ok, ms));
  const run = (f, a) => new Promise((ok, no) => execFile(f, a, (e, out) => (e ? no(e) : ok(out))));
  (async () => {
    const t = Date.now();
    await Promise.all(Array.from({ length: 200 }, (_, i) => timer(i)));
    assert(Date.now() - t >= 195);
    const sums = await Promise.all([2, 3, 4, 5].map(worker));
    assert.deepStrictEqual(sums, [500000, 999999, 1500000, 2000000]);
    assert.strictEqual(await run('echo', ['hi']), 'hi\n');
    fs.writeFileSync('/tmp/js', Buffer.alloc(1 << 20, 7));
    let n = 0;
    for await (const c of fs.createReadStream('/tmp/js')) n += c.length;
    assert.strictEqual(n, 1 << 20);
    await Promise.all(Array.from({ length: 50 }, (_, i) => fs.promises.writeFile(`/tmp/js${i}`, 'x' + i)));
    assert.strictEqual(fs.readdirSync('/tmp').filter((f) => /^js\d+$/.test(f)).length, 50);
    const cat = spawn('cat');
    cat.stdin.end('through');
    let out = '';
    for await (const c of cat.stdout) out += c;
    assert.strictEqual(out, 'through');
    console.log('ok');
  })().catch((e) => { console.error(e); process.exit(1); });
}
