import { once } from 'node:events';
import { createServer } from 'node:http';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { ModelServer } from '../../fixtures/model-server/model-server.ts';
import { ZERO_TIME } from '../../fixtures/model-server/options.ts';
import { FaultControl } from '../../src/app/fault-control.ts';
import { startRelay } from '../support/fault-relay.ts';
import { freePort } from '../support/free-port.ts';
import { atFileEnd } from '../support/leftovers.ts';
import { checkedBy, needing } from '../support/peer-run.ts';
import { goProgram, npmPackages, systemProgram, type Tool } from '../support/peer-tools.ts';
import { startProcess } from '../support/process.ts';

const redis = systemProgram('redis-server');
const client = npmPackages(['toxiproxy-node-client@4.1.0']);
const toxiproxy = goProgram('github.com/Shopify/toxiproxy/v2/cmd/server@v2.5.0', 'server');

/** Both tools, or the reason why one is missing. */
function and(one: Tool, other: Tool): Tool {
  return 'missing' in one ? one : other;
}

async function startRedis(): Promise<number> {
  const port = await freePort();
  const server = startProcess('redis-server', ['--port', String(port), '--save', '', '--bind', '127.0.0.1']);
  atFileEnd(() => server.kill('SIGKILL'));
  await server.waitFor('stdout', /Ready to accept connections/);
  return port;
}

async function startToxiproxy(program: string): Promise<string> {
  const port = await freePort();
  const server = startProcess(program, ['-port', String(port), '-seed', '1']);
  atFileEnd(() => server.kill('SIGKILL'));
  for (;;) {
    const answer = await fetch(`http://127.0.0.1:${port}/version`).catch(() => null);
    if (answer?.ok) return `http://127.0.0.1:${port}`;
    await sleep(50);
  }
}

/** A Redis client of one connection. */
class RedisClient {
  readonly #socket;

  constructor(port: number) {
    this.#socket = connect({ port, host: '127.0.0.1', noDelay: true });
    atFileEnd(() => this.#socket.destroy());
  }

  /** @returns ms to the reply of a PING, or the code of what ended the connection */
  async ping(): Promise<number | string> {
    const start = performance.now();
    const over = new AbortController();
    const until = { signal: over.signal };
    const outcome = Promise.race([
      once(this.#socket, 'data', until).then(() => performance.now() - start),
      once(this.#socket, 'end', until).then(() => 'end'),
    ]).catch((error: NodeJS.ErrnoException) => error.code ?? 'error');
    this.#socket.write('PING\r\n');
    return await outcome.finally(() => over.abort());
  }

  /** The least of some pings: what a busy machine adds is never less than nothing. */
  async least(): Promise<number> {
    const times: number[] = [];
    for (let n = 0; n < 9; n += 1) times.push(Number(await this.ping()));
    return Math.min(...times);
  }
}

function within(observed: number, asked: number): void {
  expect(Math.abs(observed - asked), `${observed} ms, asked for ${asked} ms`).toBeLessThanOrEqual(
    Math.max(2, asked * 0.05),
  );
}

describe('real Redis behind the relay', () => {
  needing(redis, 'is later by what was asked for, in each shape of delay', async () => {
    const port = await startRedis();
    const { control, port: relayed } = await startRelay(`127.0.0.1:${port}`);
    const one = new RedisClient(relayed);
    const direct = await one.least();
    for (const latency of [10, 100, 250]) {
      await control.add('dep', { type: 'latency', attributes: { latency } });
      within((await one.least()) - direct, latency);
      await control.reset();
    }
    await control.add('dep', {
      type: 'latency',
      attributes: { latency: 80, distribution: 'pareto', shape: 4 },
    });
    const drawn: number[] = [];
    for (let n = 0; n < 20; n += 1) drawn.push(Number(await one.ping()) - direct);
    expect(Math.min(...drawn)).toBeGreaterThan(79);
    expect(Math.max(...drawn) - Math.min(...drawn)).toBeGreaterThan(10);
  });

  needing(redis, 'is reset, cut and down', async () => {
    const { control, port } = await startRelay(`127.0.0.1:${await startRedis()}`);
    await control.add('dep', { type: 'reset_peer', attributes: { timeout: 0 } });
    expect(await new RedisClient(port).ping()).toBe('ECONNRESET');
    await control.reset();
    await control.add('dep', { type: 'limit_data', attributes: { bytes: 7 } });
    const cut = new RedisClient(port);
    expect(typeof (await cut.ping())).toBe('number');
    expect(await cut.ping()).toBe('end');
    await control.reset();
    await control.enable('dep', false);
    expect(await new RedisClient(port).ping()).toBe('ECONNREFUSED');
  });
});

describe('a real HTTP dependency of the model server behind the relay', () => {
  test('makes its calls later by what was asked for', async () => {
    const dependency = createServer((_, response) => response.end('{}')).listen(0, '127.0.0.1');
    await once(dependency, 'listening');
    atFileEnd(() => dependency.close());
    const { control, port } = await startRelay(
      `127.0.0.1:${(dependency.address() as { port: number }).port}`,
    );
    const url = `http://127.0.0.1:${port}/feature`;
    const server = new ModelServer({ ...ZERO_TIME, dependency: { url, timeoutMs: 5_000, openMs: 0 } });
    const target = await server.listen();
    atFileEnd(() => server.close());
    const body = '{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":[5.1,3.5,1.4,0.2]}]}';
    const least = async () => {
      const times: number[] = [];
      for (let n = 0; n < 9; n += 1) {
        const start = performance.now();
        const answer = await fetch(`${target}/v2/models/iris/infer`, { method: 'POST', body });
        await answer.text();
        expect(answer.status).toBe(200);
        times.push(performance.now() - start);
      }
      return Math.min(...times);
    };
    await least();
    const direct = await least();
    for (const [type, attributes] of [
      ['latency', { latency: 50 }],
      ['http_delay', { delay: 120 }],
    ] as const) {
      await control.add('dep', { type, attributes });
      within((await least()) - direct, type === 'latency' ? 50 : 120);
      await control.reset();
    }
    await control.add('dep', { type: 'http_error', attributes: { status: 500 } });
    const answer = await fetch(`${target}/v2/models/iris/infer`, { method: 'POST', body });
    expect(answer.status).toBe(503);
  });
});

describe('toxiproxy-node-client', () => {
  needing(and(redis, client), 'drives the relay unchanged', async () => {
    if ('missing' in client) throw new Error(client.missing);
    const { origin } = await startRelay('127.0.0.1:1');
    const [upstream, listen] = [await startRedis(), await freePort()];
    const lines = [
      "const { Toxiproxy } = require('toxiproxy-node-client');",
      "const assert = require('node:assert');",
      'const [origin, listen, upstream] = process.argv.slice(2);',
      '(async () => {',
      '  const toxiproxy = new Toxiproxy(origin);',
      "  const proxy = await toxiproxy.createProxy({ name: 'redis', listen, upstream });",
      "  assert.equal((await toxiproxy.get('redis')).upstream, upstream);",
      "  const toxic = await proxy.addToxic({ name: 'slow', type: 'latency', stream: 'downstream', toxicity: 1, attributes: { latency: 5, jitter: 1 } });",
      '  assert.equal(toxic.attributes.latency, 5);',
      '  await toxic.update({ attributes: { latency: 50 } });',
      "  assert.equal((await proxy.getToxic('slow')).attributes.latency, 50);",
      '  await toxic.remove();',
      '  assert.equal((await proxy.update({ enabled: false, listen, upstream })).enabled, false);',
      "  const all = await toxiproxy.populate([{ name: 'more', listen: '127.0.0.1:0', upstream }]);",
      "  assert.deepEqual(Object.keys(all), ['more']);",
      '  await toxiproxy.reset();',
      '  assert.equal((await toxiproxy.getAll()).redis.enabled, true);',
      "  await assert.rejects(toxiproxy.get('none'));",
      "  await (await toxiproxy.get('redis')).remove();",
      "  console.log('driven', await toxiproxy.getVersion());",
      '})().catch((error) => { console.error(error); process.exitCode = 1; });',
    ];
    const ended = await checkedBy(client.path, lines, [
      origin,
      `127.0.0.1:${listen}`,
      `127.0.0.1:${upstream}`,
    ]);
    expect(ended, ended.said).toMatchObject({ status: 0 });
    expect(ended.stdout).toContain('driven');
  });
});

/** The calls of the comparison: method, path, body. */
const CALLS: readonly (readonly [string, string, unknown?])[] = [
  ['GET', '/proxies'],
  ['POST', '/proxies', { name: 'p', listen: '127.0.0.1:LISTEN', upstream: '127.0.0.1:UPSTREAM' }],
  ['POST', '/proxies', { name: 'p', listen: '127.0.0.1:LISTEN', upstream: '127.0.0.1:UPSTREAM' }],
  ['POST', '/proxies', { name: 'q' }],
  ['POST', '/proxies', { upstream: '127.0.0.1:1' }],
  ['GET', '/proxies/p'],
  ['GET', '/proxies/none'],
  ['GET', '/proxies/p/toxics'],
  ['POST', '/proxies/p/toxics', { type: 'latency', attributes: { latency: 100 } }],
  ['POST', '/proxies/p/toxics', { type: 'latency', attributes: { latency: 100 } }],
  [
    'POST',
    '/proxies/p/toxics',
    { type: 'bandwidth', stream: 'upstream', toxicity: 0.5, attributes: { rate: 9 } },
  ],
  [
    'POST',
    '/proxies/p/toxics',
    { name: 's', type: 'slicer', attributes: { average_size: 9, size_variation: 1, delay: 3 } },
  ],
  ['POST', '/proxies/p/toxics', { name: 'l', type: 'limit_data', attributes: { bytes: 9 } }],
  ['POST', '/proxies/p/toxics', { name: 'c', type: 'slow_close', attributes: { delay: 9 } }],
  ['POST', '/proxies/p/toxics', { name: 't', type: 'timeout', attributes: { timeout: 9 } }],
  ['POST', '/proxies/p/toxics', { name: 'r', type: 'reset_peer', attributes: { timeout: 9 } }],
  ['POST', '/proxies/p/toxics', { type: 'flood' }],
  ['POST', '/proxies/p/toxics', { type: 'latency', stream: 'sideways' }],
  ['GET', '/proxies/p/toxics/s'],
  ['POST', '/proxies/p/toxics/s', { attributes: { delay: 4 } }],
  ['POST', '/proxies/p/toxics/latency_downstream', { toxicity: 0.25, attributes: { jitter: 5 } }],
  ['GET', '/proxies/p/toxics'],
  ['DELETE', '/proxies/p/toxics/s'],
  ['DELETE', '/proxies/p/toxics/s'],
  ['GET', '/proxies/p/toxics/s'],
  ['POST', '/proxies/p', { enabled: false }],
  ['GET', '/proxies/p'],
  ['POST', '/reset'],
  ['GET', '/proxies'],
  [
    'POST',
    '/populate',
    [
      { name: 'y', listen: '127.0.0.1:0', upstream: '127.0.0.1:UPSTREAM', enabled: false },
      { name: 'z', listen: '127.0.0.1:MORE', upstream: '127.0.0.1:1', enabled: false },
    ],
  ],
  ['POST', '/populate', [{ name: 'z' }]],
  ['DELETE', '/proxies/y'],
  ['DELETE', '/proxies/z'],
  ['DELETE', '/proxies/z'],
  ['DELETE', '/proxies/p'],
  ['GET', '/proxies'],
];

describe('Toxiproxy itself', () => {
  needing(and(redis, toxiproxy), 'answers the same calls alike', async () => {
    if ('missing' in toxiproxy) throw new Error(toxiproxy.missing);
    const upstream = await startRedis();
    const answersOf = async (origin: string) => {
      const [listen, more] = [await freePort(), await freePort()];
      const answers: unknown[] = [];
      const placed = (text: string) =>
        text
          .replaceAll('LISTEN', String(listen))
          .replaceAll('MORE', String(more))
          .replaceAll('UPSTREAM', String(upstream));
      for (const [method, path, body] of CALLS) {
        const response = await fetch(`${origin}${path}`, {
          method,
          headers: { 'user-agent': 'test' },
          ...(body !== undefined && { body: placed(JSON.stringify(body)) }),
        });
        const text = (await response.text())
          .replaceAll(String(listen), 'LISTEN')
          .replaceAll(String(more), 'MORE');
        // It shows an empty field of its own logger.
        const document: unknown =
          text === '' ? null : JSON.parse(text, (key, value) => (key === 'Logger' ? undefined : value));
        answers.push({ call: `${method} ${path}`, status: response.status, document });
      }
      return answers;
    };
    const { origin, control } = await startRelay('127.0.0.1:1', { listen: [], target: [] });
    expect(await control.proxies()).toEqual([]);
    expect(await answersOf(origin)).toEqual(await answersOf(await startToxiproxy(toxiproxy.path)));
  });

  needing(and(redis, toxiproxy), 'has the same effect', async () => {
    if ('missing' in toxiproxy) throw new Error(toxiproxy.missing);
    const upstream = await startRedis();
    const effectsOf = async (origin: string) => {
      const port = await freePort();
      const control = new FaultControl(origin);
      await fetch(`${origin}/proxies`, {
        method: 'POST',
        body: JSON.stringify({
          name: 'redis',
          listen: `127.0.0.1:${port}`,
          upstream: `127.0.0.1:${upstream}`,
        }),
      });
      const direct = await new RedisClient(port).least();
      const effects: Record<string, unknown> = {};
      await control.add('redis', { type: 'latency', attributes: { latency: 60 } });
      effects['latency'] = Math.round(((await new RedisClient(port).least()) - direct) / 5) * 5;
      await control.reset();
      await control.add('redis', { type: 'latency', stream: 'upstream', attributes: { latency: 40 } });
      effects['upstream'] = Math.round(((await new RedisClient(port).least()) - direct) / 5) * 5;
      await control.reset();
      await control.add('redis', { type: 'limit_data', attributes: { bytes: 7 } });
      const cut = new RedisClient(port);
      effects['limit'] = [typeof (await cut.ping()), await cut.ping()];
      await control.reset();
      await control.add('redis', { type: 'reset_peer', attributes: { timeout: 0 } });
      effects['reset'] = await new RedisClient(port).ping();
      await control.reset();
      await control.add('redis', { type: 'timeout', attributes: { timeout: 200 } });
      const start = performance.now();
      effects['timeout'] = await new RedisClient(port).ping();
      effects['after'] = Math.round((performance.now() - start) / 100);
      await control.reset();
      await control.enable('redis', false);
      effects['down'] = await new RedisClient(port).ping();
      return effects;
    };
    const { origin } = await startRelay('127.0.0.1:1', { listen: [], target: [] });
    const theirs = await effectsOf(await startToxiproxy(toxiproxy.path));
    expect(theirs).toMatchObject({ latency: 60, upstream: 40, down: 'ECONNREFUSED' });
    expect(await effectsOf(origin)).toEqual(theirs);
  });
});
