// Makes every kind of call as grpc-js does: `node grpc_js.cjs MODULES PORT`, with the node_modules that contain
// @grpc/grpc-js, prints one JSON object for each call. Messages are any bytes, and are reported by size and hash.
const { createHash } = require('node:crypto');
const { setTimeout: sleep } = require('node:timers/promises');

const [modules, port] = process.argv.slice(2);
const { Client, credentials, Metadata, status } = require(`${modules}/@grpc/grpc-js`);

const NAMES = Object.fromEntries(Object.entries(status).map(([name, code]) => [code, name]));
const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
const asIs = (bytes) => bytes;
const told = (bytes) => [bytes.length, createHash('sha256').update(bytes).digest('hex').slice(0, 16)];

/** Sends its messages, apart by a gap, and reads answers until the end or the most that it wants. */
async function call(name, method, messages, { limitMs = 60_000, gapMs = 0, most = 0 } = {}) {
  const metadata = new Metadata();
  metadata.set('x-call', name);
  const options = { deadline: Date.now() + limitMs };
  const path = `/acme.v2.Everything/${method}`;
  const stream = client.makeBidiStreamRequest(path, asIs, asIs, metadata, options);
  const got = [];
  const over = new Promise((resolve) => {
    stream.on('status', ({ code }) => resolve(code));
  });
  stream.on('error', () => undefined);
  stream.on('data', (bytes) => {
    got.push(told(bytes));
    if (got.length === most) stream.cancel();
  });
  for (const message of messages) {
    stream.write(message);
    if (gapMs > 0) await sleep(gapMs);
  }
  stream.end();
  console.log(JSON.stringify({ call: name, status: NAMES[await over], messages: got }));
}

async function main() {
  const one = [Buffer.from('one message')];
  const several = Array.from({ length: 10 }, (_, at) => Buffer.from(`message ${at}`));
  await call('unary', 'Unary', one);
  await call('megabyte', 'Unary', [Buffer.alloc(2 ** 20)]);
  await call('server-stream', 'ServerStream', one);
  await call('client-stream', 'ClientStream', several, { gapMs: 10 });
  await call('both', 'Both', several, { gapMs: 10 });
  await call('refused', 'Refuse', one);
  await call('unknown', 'Nothing', one);
  await call('deadline', 'Slow', one, { limitMs: 250 });
  await call('cancelled', 'Endless', one, { most: 3 });
  client.close();
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
