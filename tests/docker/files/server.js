// Answers /N with "answer N"; ends in order on SIGTERM.
const http = require("http");
const server = http.createServer((request, response) => response.end(`answer ${request.url.slice(1)}\n`));
server.listen(8080);
process.on("SIGTERM", () => { server.close(() => process.exit(0)); server.closeAllConnections?.(); });
