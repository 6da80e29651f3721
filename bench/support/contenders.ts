import { type ChildProcess, execFileSync, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { childrenOf, cpuUsOf } from './process-cpu.ts';

/** A proxy, or the target itself, that requests are sent through. */
export interface Contender {
  readonly name: string;
  readonly port: number;
  readonly pids: () => number[];
  /** Those processes of `pids` that record. */
  readonly recorderPids: () => number[];
  readonly stop: () => Promise<void>;
}

/** A contender that records the traffic. */
export interface RecordingContender extends Contender {
  readonly capture: string;
  /** How many exchanges it reports as lost so far. */
  readonly lostTurns: () => number;
}

/** A contender has finished its work if its processes used almost no CPU for this time. */
const QUIET_MS = 300;
const QUIET_CPU_US = 10_000;
const SETTLE_MAX_MS = 60_000;

/** All children, which are stopped at the exit: a failed bench must leave no process behind. */
const children: ChildProcess[] = [];
process.on('exit', () => {
  for (const child of children) if (child.exitCode === null) child.kill('SIGTERM');
});

/** Starts a helper of this directory and waits for its port. */
export async function helper(name: string, args: string[]): Promise<{ child: ChildProcess; port: number }> {
  const child = fork(new URL(`./${name}.ts`, import.meta.url), args);
  children.push(child);
  const [message] = (await once(child, 'message')) as [{ port: number }];
  return { child, port: message.port };
}

/**
 * Waits until a contender has finished all its work. It may still be recording after the last answer, and this deferred
 * work counts too.
 */
export async function settled(contender: Contender): Promise<void> {
  for (let waitedMs = 0, quiet = 0, last = cpuUsOf(contender.pids()); quiet < 2; waitedMs += QUIET_MS) {
    if (waitedMs > SETTLE_MAX_MS) throw new Error(`${contender.name} does not come to rest`);
    await sleep(QUIET_MS);
    const now = cpuUsOf(contender.pids());
    quiet = now - last <= QUIET_CPU_US ? quiet + 1 : 0;
    last = now;
  }
}

/** The upstream itself, without a proxy. */
export function direct(port: number): Contender {
  return { name: 'direct', port, pids: () => [], recorderPids: () => [], stop: async () => undefined };
}

export async function startPipe(targetPort: number): Promise<Contender> {
  const { child, port } = await helper('bare-pipe', [String(targetPort)]);
  return {
    name: 'bare pipe',
    port,
    pids: () => [child.pid as number],
    recorderPids: () => [],
    stop: async () => child.disconnect(),
  };
}

/** Locations of nginx that forward everything, streams and large bodies unbuffered. */
const HTTP_LOCATIONS = `
    location / {
      proxy_pass http://model; proxy_http_version 1.1; proxy_set_header Connection "";
    }
    location /unbuffered/ {
      proxy_pass http://model; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_request_buffering off; proxy_buffering off;
    }`;
const GRPC_LOCATIONS = 'location / { grpc_pass grpc://model; }';

/** nginx with one worker. Null without nginx. */
export async function startNginx(
  targetPort: number,
  directory: string,
  protocol: 'http' | 'grpc' = 'http',
): Promise<Contender | null> {
  const port = await freePort();
  const configuration = join(directory, 'nginx.conf');
  writeFileSync(
    configuration,
    `daemon off; worker_processes 1; pid ${directory}/nginx.pid; error_log ${directory}/error.log;
events { worker_connections 4096; }
http {
  access_log off; client_body_temp_path ${directory}/body; proxy_temp_path ${directory}/proxy;
  fastcgi_temp_path ${directory}/f; uwsgi_temp_path ${directory}/u; scgi_temp_path ${directory}/s;
  keepalive_requests 100000000; client_max_body_size 0;
  upstream model { server 127.0.0.1:${targetPort}; keepalive 64; keepalive_requests 100000000; }
  server {
    listen 127.0.0.1:${port}${protocol === 'grpc' ? ' http2' : ''};
    http2_max_concurrent_streams 1000;
    ${protocol === 'grpc' ? GRPC_LOCATIONS : HTTP_LOCATIONS}
  }
}`,
  );
  const nginx = spawn('nginx', ['-c', configuration], { stdio: 'ignore' });
  children.push(nginx);
  // Not `once`: if there is no nginx, waiting for 'spawn' with it would reject.
  const started = await new Promise<boolean>((resolve) => {
    nginx.on('spawn', () => resolve(true));
    nginx.on('error', () => resolve(false));
  });
  if (!started) {
    console.log('nginx is not installed: left out (Debian: apt-get install nginx-light)');
    return null;
  }
  await sleep(300);
  return {
    name: 'nginx',
    port,
    pids: () => childrenOf(nginx.pid as number),
    recorderPids: () => [],
    stop: async () => {
      nginx.kill('SIGTERM');
      await once(nginx, 'exit');
    },
  };
}

/** `reprise record` with its default options. */
export async function startRecorder(targetPort: number, directory: string): Promise<RecordingContender> {
  const capture = join(directory, 'capture');
  const bin = new URL('../../bin/reprise.js', import.meta.url).pathname;
  const addresses = ['--target', `127.0.0.1:${targetPort}`, '--listen', '127.0.0.1:0', '--dir', capture];
  const quick = ['--probe-listen', 'off', '--drain-delay', '0s', '--drain-deadline', '5s'];
  const recorder = spawn(process.execPath, [bin, '--log-format', 'json', 'record', ...addresses, ...quick], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  children.push(recorder);
  let said = '';
  recorder.stderr.on('data', (text: Buffer) => {
    said += text.toString();
  });
  const find = async (pattern: RegExp): Promise<string> => {
    for (;;) {
      const found = pattern.exec(said)?.[1];
      if (found !== undefined) return found;
      if (recorder.exitCode !== null) throw new Error(`the recorder did not start: ${said}`);
      await sleep(20);
    }
  };
  await find(/"state":"HEALTH(Y)"/);
  return {
    name: 'record',
    port: Number(await find(/"listen":"127\.0\.0\.1:(\d+)"/)),
    capture,
    lostTurns: () => lostTurnsOf(execFileSync(process.execPath, [bin, 'status', '--dir', capture, '--json'])),
    pids: () => [recorder.pid as number, ...childrenOf(recorder.pid as number)],
    recorderPids: () => {
      const started = [...said.matchAll(/"pid":(\d+),"message":"recorder started"/g)].at(-1);
      return started ? [Number(started[1])] : [];
    },
    stop: async () => {
      recorder.kill('SIGTERM');
      if (recorder.exitCode === null) await once(recorder, 'exit');
    },
  };
}

function lostTurnsOf(status: Buffer): number {
  const { lost } = JSON.parse(status.toString()) as { lost: Record<string, { turns: number }> };
  return Object.values(lost).reduce((sum, { turns }) => sum + turns, 0);
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  if (address === null || typeof address === 'string') throw new Error('no free port');
  return address.port;
}
