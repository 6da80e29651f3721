import { Agent, createServer } from 'node:http';
import httpProxy from 'http-proxy';

/**
 * http-proxy as in its documentation, with a keep-alive agent and without any protection. The gateway's guard is
 * compared with it. Usage: plain-http-proxy.ts TARGET_PORT
 */
const proxy = httpProxy.createProxyServer({
  target: `http://127.0.0.1:${process.argv[2]}`,
  agent: new Agent({ keepAlive: true }),
});
proxy.on('error', (_error, _request, response) => response.destroy());

const server = createServer((request, response) => proxy.web(request, response));
server.listen(0, '127.0.0.1', () => {
  const address = server.address();
  if (address !== null && typeof address === 'object') process.send?.({ port: address.port });
});
process.on('disconnect', () => process.exit());
