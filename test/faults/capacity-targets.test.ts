import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type CapacityOptions, capacity } from '../../src/index.ts';
import { failing, SHORT, SLO, search, searchedDocument } from '../integration/capacity-search.ts';
import { captureOf } from '../support/captures.ts';
import { requestMessage } from '../support/exchanges.ts';
import { startReprise } from '../support/process.ts';
import { requestsOf, serverOf } from '../support/replaying.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

/** Relays to a port, and can be gone for a while. */
async function startedAgain(to: number) {
  const sockets = new Set<Socket>();
  const relay = createServer((socket) => {
    sockets.add(socket);
    const onward = connect(to, '127.0.0.1');
    for (const [one, other] of [
      [socket, onward],
      [onward, socket],
    ] as const) {
      one.on('error', () => other.destroy());
      one.on('close', () => other.destroy());
      one.pipe(other);
    }
  });
  relay.listen(0, '127.0.0.1');
  await once(relay, 'listening');
  const { port } = relay.address() as AddressInfo;
  const close = () => {
    relay.close();
    for (const socket of sockets) socket.destroy();
  };
  return {
    port,
    close,
    goFor: (ms: number) => {
      close();
      setTimeout(() => relay.listen(port, '127.0.0.1'), ms);
    },
  };
}

describe('a search', () => {
  it('ends with 5 for a target that does not answer', async () => {
    const gone = await search(captureOf(requestsOf(20)), 'http://127.0.0.1:9', []);
    expect(gone.status).toBe(5);
  });

  it.each([503, 404])('ends with 5 and without a step for a target that answers %i alone', async (status) => {
    const wrong = await serverOf((_, response) => response.writeHead(status).end());
    const out = join(temporaryDirectory(), 'out');
    const result = await search(captureOf(requestsOf(20)), wrong.url, ['--json', '--out', out]);
    expect(result.status).toBe(5);
    expect(searchedDocument(result)).toMatchObject({
      endedBy: 'target_failed',
      limitedBy: 'target_failed',
      steps: [],
    });
  });

  /** Stops a search after so many steps. */
  async function stepsOf(
    capture: string,
    target: string,
    steps: number,
    {
      onFirst = () => {},
      ...asked
    }: Partial<CapacityOptions> & { readonly dryRun?: false; onFirst?: () => void } = {},
  ) {
    const stop = new AbortController();
    let played = 0;
    const options = { slo: 'latency: p(90)<500', out: join(temporaryDirectory(), 'out'), step: '1s' };
    const short = { budget: '10m', compareAt1x: 'off', coolDown: '0s', multiplier: 2 } as const;
    return capacity(
      capture,
      { ...options, ...short, target, ...asked },
      {
        signal: stop.signal,
        onStep: () => {
          played += 1;
          if (played === 1) onFirst();
          if (played === steps) stop.abort();
        },
      },
    );
  }

  it('begins with a target that fails what failed while recording', async () => {
    const isBroken = (target: string) => /n=[012]$/.test(target);
    const server = await serverOf(({ target }, response) =>
      response.writeHead(isBroken(target) ? 503 : 200).end('{"outputs":[]}'),
    );
    const broken = requestsOf(3, 10_000, { status: 503 });
    const capture = captureOf([...broken, ...requestsOf(300, 10_000).slice(3)]);
    const { steps } = await stepsOf(capture, server.url, 1);
    expect(steps).toHaveLength(1);
  });

  it('searches although the first requests are refused, if the others are served', async () => {
    const server = await serverOf(({ target }, response) =>
      response.writeHead(target === '/healthz' ? 404 : 200).end('{"outputs":[]}'),
    );
    const request = requestMessage({ target: '/healthz' });
    const capture = captureOf([...requestsOf(3, 10_000, { request }), ...requestsOf(300, 10_000).slice(3)]);
    const { steps } = await stepsOf(capture, server.url, 1);
    expect(steps).toHaveLength(1);
  });

  it('waits for a target that was gone after a good step', async () => {
    const target = await serverOf();
    const relay = await startedAgain(target.port);
    const capture = captureOf(requestsOf(300, 10_000));
    const { steps } = await stepsOf(capture, `http://127.0.0.1:${relay.port}`, 2, {
      onFirst: () => relay.goFor(500),
    });
    relay.close();
    expect(steps).toHaveLength(2);
  });

  it('took a cache for noise, and went on by what the cache answered', async () => {
    const known = new Set<string>();
    const server = await serverOf(({ target }, response) => {
      setTimeout(() => response.end('{"outputs":[]}'), known.has(target) ? 0 : 600);
      known.add(target);
    });
    const calibrateBounds = 'p50=1000,status=0.02,size=1000';
    const capture = captureOf(requestsOf(900, 10_000));
    for (const compareAt1x of [calibrateBounds, 'off']) {
      known.clear();
      const found = await stepsOf(capture, server.url, 9, { compareAt1x, slo: 'latency: p(90)<2000' });
      expect(found, JSON.stringify(found.steps)).toMatchObject({
        endedBy: 'repeats_cached',
        limitedBy: 'repeats_cached',
        noise: { source: 'none' },
        breakingPoint: { interval: null },
        sizing: null,
      });
      expect(found.steps.length).toBeLessThanOrEqual(2);
      expect(found.steps.at(-1)?.reasons.map(({ code }) => code)).toContain('repeats_cached');
    }
  });

  describe('that calibrates', () => {
    const capture = captureOf(requestsOf(300, 10_000));

    /** The noise is known, so that 1x is played once. */
    async function calibrated(server: { readonly url: string }, out: string, args: readonly string[]) {
      const noise = join(temporaryDirectory(), 'noise.json');
      const known = {
        share: 0.02,
        pairs: 100,
        source: 'measured',
        measuredAt: '2026-11-24T15:00:00.000000Z',
      };
      const file = { schemaVersion: 1, kind: 'capacity-noise', targets: { [server.url]: known } };
      writeFileSync(noise, JSON.stringify(file));
      return searchedDocument(
        await search(capture, server.url, [
          ...['--json', '--compare-at-1x', 'on', '--noise', noise, '--out', out, '--budget', '10m'],
          ...args,
        ]),
      );
    }

    it('asks again whether a target is the recorded one, within its ceiling and by bounds that may change', async () => {
      const server = await serverOf(({ target }, response) =>
        response.writeHead(/[13579]$/.test(target) ? 404 : 200).end('{"outputs":[]}'),
      );
      const out = join(temporaryDirectory(), 'out');
      const ceiling = ['--multiplier', '0.5..0.5'];
      const first = await calibrated(server, out, ceiling);
      expect(first).toMatchObject({ endedBy: 'not_representative', calibration: { representative: false } });
      const wider = [...ceiling, '--compare-at-1x', 'p50=1000,status=1,size=1000'];
      const second = await calibrated(server, out, wider);
      expect(second.calibration?.representative).toBe(true);
      expect(new Set([first, second].flatMap(({ steps }) => steps.map((step) => step.multiplier)))).toEqual(
        new Set([0.5]),
      );
    });

    it('goes on below 1x with a target that does not stand 1x', async () => {
      const server = await serverOf((_, response) => {
        setTimeout(() => response.end('{"outputs":[]}'), 700);
      });
      const document = await calibrated(server, join(temporaryDirectory(), 'out'), [
        '--multiplier',
        '0.5..64',
      ]);
      expect(document).toMatchObject({ endedBy: 'min_multiplier', calibration: { representative: null } });
      expect(document.steps.at(-1)?.multiplier).toBe(0.5);
    });
  });

  it('keeps its state when it is stopped', async () => {
    const server = await serverOf();
    const capture = captureOf(requestsOf(300, 10_000));
    const out = join(temporaryDirectory(), 'out');
    // A busy machine must not come to the end of its budget before the second step.
    const args = ['capacity', capture, '--target', server.url, ...SLO, ...SHORT, '--budget', '10m'];
    args.push('--out', out, '--json');
    const running = startReprise(args);
    await running.waitFor('stderr', /Step 2/);
    running.child.kill('SIGINT');
    const stopped = await running.finished;
    expect(stopped.status).toBe(130);
    expect(searchedDocument(stopped)).toMatchObject({ endedBy: 'interrupted' });
    const { steps } = JSON.parse(readFileSync(join(out, 'state.json'), 'utf8'));
    expect(steps.length).toBeGreaterThanOrEqual(1);
    const resumed = startReprise(args);
    await resumed.waitFor('stderr', /Going on with the search/);
    resumed.child.kill('SIGINT');
    expect((await resumed.finished).status).toBe(130);
  });

  it('is a function of the library', async () => {
    const server = await failing(3);
    const seen: number[] = [];
    const document = await capacity(
      captureOf(requestsOf(300, 10_000)),
      {
        target: server.url,
        slo: 'latency: p(90)<500',
        out: join(temporaryDirectory(), 'out'),
        step: '1s',
        budget: '30s',
        compareAt1x: 'off',
        multiplier: '1..64',
      },
      { onStep: ({ multiplier }) => seen.push(multiplier) },
    );
    expect(document).toMatchObject({ kind: 'capacity', endedBy: 'min_multiplier' });
    expect(seen).toEqual([1]);
  });
});
