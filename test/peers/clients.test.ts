import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer as createHttp2Server } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, describe, expect, test } from 'vitest';
import { openCapture } from '../../src/storage/capture/reader.ts';
import { freePort } from '../support/free-port.ts';
import { NumberedOrigin } from '../support/numbered-traffic.ts';
import { pythonWith, systemProgram, type Tool } from '../support/peer-tools.ts';
import { startRecording } from '../support/recording.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const wrk = systemProgram('wrk');
const h2load = systemProgram('h2load');
const curl = systemProgram('curl');
const nginx = systemProgram('nginx');
const python = pythonWith(['httpx==0.28.1', 'requests==2.32.5']);

const cleanUps: (() => unknown)[] = [];
afterAll(async () => {
  for (const cleanUp of cleanUps) await cleanUp();
});

function needing(tool: Tool, name: string, body: (path: string) => Promise<void>): void {
  if ('missing' in tool) test.skip(`${name} (${tool.missing})`, () => undefined);
  else test(name, async () => await body(tool.path));
}

/** Runs a program without holding up this process, which serves it. */
async function run(command: string, args: readonly string[]): Promise<string> {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
  }
  const [status] = (await once(child, 'close')) as [number | null];
  expect(status, said).toBe(0);
  return said;
}

function exchangesIn(directory: string): { count: number; statuses: Set<number | null> } {
  const capture = openCapture(directory);
  const statuses = new Set<number | null>();
  let count = 0;
  for (const row of capture.rows()) {
    count += 1;
    statuses.add(row.status);
  }
  capture.close();
  return { count, statuses };
}

async function scene(flags: readonly string[]) {
  const origin = await new NumberedOrigin().listen();
  const directory = join(temporaryDirectory(), 'capture');
  const recording = await startRecording(origin.port, directory, flags);
  return {
    url: `http://127.0.0.1:${recording.port}/v1/models/m:predict?id=1`,
    port: recording.port,
    origin,
    end: async () => {
      const { status, end } = await recording.stop();
      await origin.close();
      expect(status).toBe(0);
      expect(end).toMatchObject({ pending: { turns: 0, bytes: 0 }, lost: {} });
      return exchangesIn(directory);
    },
  };
}

describe.each([
  ['wire', []],
  ['gateway', ['--mode', 'gateway']],
])('works unchanged through the %s plane:', (_plane, flags) => {
  needing(wrk, 'wrk', async (path) => {
    const { url, end } = await scene(flags);
    const said = await run(path, ['-t1', '-c16', '-d3s', url]);
    const { count, statuses } = await end();
    expect(said).not.toMatch(/Non-2xx|Socket errors/);
    const [, requests] = /(\d+) requests in/.exec(said) ?? [];
    // wrk ends in the midst of things: each of its connections may have one request more under way.
    expect(count).toBeGreaterThanOrEqual(Number(requests));
    expect(count).toBeLessThanOrEqual(Number(requests) + 16);
    expect([...statuses].filter((status) => status !== null)).toEqual([200]);
  });

  needing(h2load, 'h2load over HTTP/1.1', async (path) => {
    const { url, end } = await scene(flags);
    const said = await run(path, ['--h1', '-n', '2000', '-c', '8', url]);
    expect(said).toMatch(/2000 succeeded, 0 failed, 0 errored, 0 timeout/);
    expect(await end()).toEqual({ count: 2_000, statuses: new Set([200]) });
  });

  needing(curl, 'curl, with a body, chunked, with 100-continue and without keep-alive', async (path) => {
    const { url, end } = await scene(flags);
    const file = join(temporaryDirectory(), 'body');
    writeFileSync(file, 'x'.repeat(2_000_000));
    for (const extra of [
      ['-d', '{"a":1}'],
      ['--data-binary', `@${file}`, '-H', 'Expect: 100-continue'],
      ['-T', file, '-H', 'Transfer-Encoding: chunked', '-X', 'POST'],
      ['-H', 'Connection: close', '-d', '{}'],
      ['--http1.0', '-d', '{}'],
    ]) {
      expect(await run(path, ['-sS', '--fail', '--max-time', '20', ...extra, url])).toContain('"id":1');
    }
    expect(await end()).toEqual({ count: 5, statuses: new Set([200]) });
  });

  needing(python, 'Python’s requests and httpx', async (path) => {
    const { url, end } = await scene(flags);
    const program = [
      'import sys, httpx, requests',
      'url = sys.argv[1]',
      'with requests.Session() as session:',
      '    for size in (0, 10, 100_000):',
      "        assert session.post(url, data=b'x' * size).json()['id'] == 1",
      'with httpx.Client() as client:',
      '    for size in (0, 10, 100_000):',
      "        assert client.post(url, content=b'x' * size).json()['id'] == 1",
      '    def pieces():',
      "        for _ in range(5): yield b'piece'",
      "    assert client.post(url, content=pieces()).json()['id'] == 1",
      "print('done')",
    ].join('\n');
    expect(await run(path, ['-c', program, url])).toContain('done');
    expect(await end()).toEqual({ count: 7, statuses: new Set([200]) });
  });

  needing(nginx, 'nginx in front of it', async (path) => {
    const { port, end } = await scene(flags);
    const home = temporaryDirectory();
    mkdirSync(join(home, 'temporary'));
    const listen = await freePort();
    writeFileSync(join(home, 'nginx.conf'), nginxConfiguration(home, listen, port));
    const server = spawn(path, ['-p', home, '-c', join(home, 'nginx.conf')], { stdio: 'ignore' });
    cleanUps.push(() => server.kill('SIGTERM'));
    const url = `http://127.0.0.1:${listen}/v1/models/m:predict?id=1`;
    await untilAnswered(url);
    for (let request = 0; request < 200; request += 1) {
      const answer = await fetch(url, { method: 'POST', body: 'y'.repeat(request * 100) });
      expect(((await answer.json()) as { id: number }).id).toBe(1);
    }
    server.kill('SIGTERM');
    await once(server, 'close');
    const { count, statuses } = await end();
    expect(count).toBeGreaterThanOrEqual(200);
    expect(statuses).toEqual(new Set([200]));
  });
});

needing(h2load, 'works unchanged through the wire plane: h2load over HTTP/2', async (path) => {
  const server = createHttp2Server((_, response) => response.end('{"ok":true}'));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const directory = join(temporaryDirectory(), 'capture');
  const recording = await startRecording((server.address() as AddressInfo).port, directory);
  const said = await run(path, ['-n', '2000', '-c', '4', '-m', '10', `http://127.0.0.1:${recording.port}/`]);
  expect(said).toMatch(/2000 succeeded, 0 failed, 0 errored, 0 timeout/);
  const { status, end } = await recording.stop();
  server.close();
  expect(status).toBe(0);
  expect(end).toMatchObject({ exchanges: 2_000, lost: {}, omitted: {}, pending: { turns: 0, bytes: 0 } });
});

function nginxConfiguration(home: string, listen: number, upstream: number): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (name) => `${name}_temp_path ${home}/temporary;`,
  );
  // The worker must be able to write where the test may.
  const user = process.getuid?.() === 0 ? 'user root; ' : '';
  return `${user}daemon off; worker_processes 1; error_log ${home}/error.log; pid ${home}/nginx.pid;
events { worker_connections 256; }
http { access_log off; ${temporary.join(' ')}
  upstream recorder { server 127.0.0.1:${upstream}; keepalive 8; }
  server { listen 127.0.0.1:${listen}; location / { proxy_pass http://recorder; proxy_http_version 1.1; proxy_set_header Connection ""; client_max_body_size 0; } }
}
`;
}

async function untilAnswered(url: string): Promise<void> {
  for (let attempt = 0; attempt < 200; attempt += 1) {
    const answered = await fetch(url, { method: 'POST', body: '' }).then(
      (answer) => answer.ok,
      () => false,
    );
    if (answered) return;
    await sleep(50);
  }
  expect.fail(`${url} does not answer`);
}
