// client.js URL N: asks for N answers at once, on connections that are kept.
const http = require("http");
const [url, n] = [process.argv[2], Number(process.argv[3])];
const agent = new http.Agent({ keepAlive: true, maxSockets: 20 });
let done = 0;
for (let i = 0; i < n; i++) {
  http.get(`${url}/${i}`, { agent }, (response) => {
    let text = "";
    response.on("data", (data) => (text += data));
    response.on("end", () => {
      if (text !== `answer ${i}\n`) { console.log("wrong:", text); process.exit(1); }
      if (++done === n) { console.log(`${n} answers`); process.exit(0); }
    });
  }).on("error", (e) => { console.log(e.message); process.exit(1); });
}
